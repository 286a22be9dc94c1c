"""The stages of readiness, each with the reason when it is not reached, driven by a scripted guest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from labrun.errors import AuthenticationError, HostKeyError, TransportError, UnreachableError
from labrun.ports import Completed, Transport
from labrun.tasks.guest.reason import Reason
from labrun.tasks.provision.insight import Insight
from labrun.tasks.provision.ready import Ready, ready_inside, wait_until_ready

MAC = "02:00:00:00:00:01"


@dataclass
class Guest:
    """A guest that fails to answer as told, then does."""

    refusals: list[TransportError] = field(default_factory=list)
    errors: Sequence[str] = ()
    addresses: Sequence[tuple[str, int]] = (("10.0.0.11", 24),)
    done: bool = True
    scripts: list[str] = field(default_factory=list)

    def login(self, _address: str) -> Transport:
        if self.refusals:
            raise self.refusals.pop(0)
        return self

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        self.scripts.append(script)
        result = json.dumps({"v1": {"errors": list(self.errors)}}) if self.done else "null"
        info = [{"local": text, "prefixlen": length, "scope": "global"} for text, length in self.addresses]
        links: list[dict[str, Any]] = [{"ifname": "eth0", "address": MAC, "addr_info": info}]
        return Completed(0, f"{result}\n==addresses==\n{json.dumps(links)}", "", 0.0)


def wait(
    guest: Guest,
    *,
    timeout: float = 2.0,
    address: Callable[[], str | None] = lambda: "10.0.0.11",
    alive: Callable[[], bool] = lambda: True,
    insight: Insight | None = None,
) -> Ready:
    return wait_until_ready(
        "one",
        timeout=timeout,
        address=address,
        login=guest.login,
        expected={MAC: ("10.0.0.11/24",)},
        alive=alive,
        insight=insight or Insight(None, 0.0),
    )


def test_ready() -> None:
    assert (wait(Guest()).stage, wait(Guest()).error) == ("ready", "")


def test_it_is_asked_again_until_it_answers() -> None:
    refused: list[TransportError] = [UnreachableError("port 22 refused") for _ in range(3)]
    assert wait(Guest(refused)).stage == "ready"


def test_no_lease_in_time() -> None:
    found = wait(Guest(), timeout=0.2, address=lambda: None)
    assert (found.stage, found.error) == ("address", "unreachable")
    assert re.fullmatch(r"no address after \d+ s", found.why)


def test_no_login_in_time_says_what_came_last() -> None:
    refused: list[TransportError] = [UnreachableError("port 22 refused") for _ in range(50)]
    found = wait(Guest(refused), timeout=0.3)
    assert (found.stage, found.error) == ("ssh", "unreachable")
    assert found.why.endswith("s: port 22 refused")
    assert found.why.startswith("no login at 10.0.0.11 after ")


def test_a_machine_that_stops_is_not_waited_for() -> None:
    refused: list[TransportError] = [UnreachableError("no answer") for _ in range(50)]
    found = wait(Guest(refused), timeout=60, alive=lambda: False)
    assert found.why.endswith("the machine stopped while booting")
    assert wait(Guest(), timeout=60, address=lambda: None, alive=lambda: False).why == (
        "the machine stopped while booting"
    )


def test_a_wrong_host_key_is_final() -> None:
    guest = Guest([HostKeyError("another key"), UnreachableError("never asked")])
    found = wait(guest, timeout=60)
    assert found.why.endswith("another key")
    assert len(guest.refusals) == 1


def test_a_refused_login_is_tried_again_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("labrun.tasks.provision.ready.time.sleep", pauses.append)
    guest = Guest([AuthenticationError("no key fits") for _ in range(5)])
    assert wait(guest, timeout=600).stage == "ready"
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_errors_of_cloud_init_fail() -> None:
    found = wait(Guest(errors=["no such module"]))
    assert (found.error, found.why) == ("failed", "cloud-init: no such module")


def test_cloud_init_that_is_not_done() -> None:
    found = wait(Guest(done=False))
    assert (found.stage, found.error) == ("cloud-init", "unreachable")
    assert found.why.startswith("cloud-init has not finished after")


def test_an_address_that_was_not_applied_fails() -> None:
    found = wait(Guest(addresses=(("10.0.0.99", 24),)), timeout=0.2)
    assert (found.stage, found.error) == ("address", "failed")
    assert found.why == f"the NIC {MAC} should have 10.0.0.11/24 and has 10.0.0.99/24"
    assert wait(Guest(addresses=()), timeout=0.2).why.endswith("and has no address")


def test_a_nic_may_get_its_address_after_the_login_by_another_one() -> None:
    @dataclass
    class Late(Guest):
        def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
            self.addresses = (("10.0.0.11", 24),) if self.scripts else ()
            return super().run(script, timeout=timeout, sudo=sudo)

    guest = Late()
    assert wait(guest, timeout=10).stage == "ready"
    assert len(guest.scripts) == 2


def seen(*reasons: Reason | None) -> Insight:
    """Return looks that show these reasons, one after the other, the last one for ever."""
    left = list(reasons)
    return Insight(lambda _error: left.pop(0) if len(left) > 1 else left[0], 0.01)


def refused(count: int = 500) -> Guest:
    return Guest([UnreachableError("port 22 refused") for _ in range(count)])


def test_what_waiting_does_not_mend_ends_the_wait() -> None:
    insight = seen(Reason("sshd is masked"))
    found = wait(refused(), timeout=120, insight=insight)
    assert (found.stage, found.error) == ("ssh", "unreachable")
    assert found.why.startswith("sshd is masked; seen out of band, over SSH: no login at 10.0.0.11 after ")
    assert found.seconds < 60
    found = wait(refused(), timeout=60, address=lambda: None, insight=seen(Reason("no DHCP server")))
    why = r"no DHCP server; seen out of band, over SSH: no address after \d+ s"
    assert re.fullmatch(why, found.why)


def test_nothing_is_looked_at_while_a_jump_host_boots() -> None:
    """It would cost processors that the boot needs, and each look makes the next come later."""
    looks: list[str] = []

    def look(error: str) -> Reason:
        looks.append(error)
        return Reason("sshd is masked")

    boots = [UnreachableError("its jump host gate: port 22 refused") for _ in range(20)]
    guest = Guest([*boots, *refused().refusals])
    found = wait(guest, timeout=60, insight=Insight(look, 0.01, lambda error: "its jump host" in error))
    assert found.why.startswith("sshd is masked; ")
    assert looks == ["port 22 refused"] * 2


@pytest.mark.parametrize(
    "insight",
    [
        seen(None),
        seen(Reason("still booting", is_sure=False)),
        seen(Reason("one"), Reason("two"), None),
        Insight(None, 0.0),
    ],
)
def test_what_may_come_yet_is_waited_for(insight: Insight) -> None:
    assert wait(refused(8), timeout=30, insight=insight).stage == "ready"


def test_in_the_end_even_a_possible_reason_is_given() -> None:
    found = wait(refused(), timeout=0.5, insight=seen(Reason("still booting", is_sure=False)))
    assert found.why.startswith("still booting; seen out of band, over SSH: no login at 10.0.0.11 after ")


def test_a_machine_that_no_login_leads_to_is_ready_by_what_it_shows_inside() -> None:
    # Its addresses come later than the end of cloud-init: a login would have waited for them.
    ways: list[Guest | None] = [None]
    guest = Guest()

    def inside(timeout: float) -> Ready:
        return ready_inside(
            "one",
            timeout=timeout,
            transport=lambda: ways.pop(0) if ways else guest,
            expected={MAC: ("10.0.0.11/24",)},
            alive=lambda: True,
        )

    assert (inside(20).stage, inside(20).error) == ("ready", "")
    ways = [None] * 50
    found = inside(0.2)
    assert (found.stage, found.error, found.why) == ("inside", "unreachable", "no way in without a login")
    ways = []
    guest = Guest(addresses=())
    assert inside(0.2).why == "the NIC 02:00:00:00:00:01 should have 10.0.0.11/24 and has no address"
