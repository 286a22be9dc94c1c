"""The stages of readiness, each with the reason when it is not reached, driven by a scripted guest."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from labrun.errors import AuthenticationError, HostKeyError, TransportError, UnreachableError
from labrun.ports import Completed, Transport
from labrun.progress import LOGGER_NAME
from labrun.tasks.guest.reason import Reason
from labrun.tasks.provision.console_watch import ConsoleWatch
from labrun.tasks.provision.insight import Insight
from labrun.tasks.provision.ready import Limits, Ready, limits_of, ready_inside, wait_until_ready
from labrun.tasks.provision.ready_answer import read_answer, unaddressed

MAC = "02:00:00:00:00:01"


@dataclass
class Guest:
    """A guest that fails to answer as told, then does."""

    refusals: list[TransportError] = field(default_factory=list)
    errors: Sequence[str] = ()
    addresses: Sequence[tuple[str, int]] = (("10.0.0.11", 24),)
    done: bool = True
    fate: str = ""
    scripts: list[str] = field(default_factory=list)

    def login(self, _address: str) -> Transport:
        if self.refusals:
            raise self.refusals.pop(0)
        return self

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        self.scripts.append(script)
        result = f"result {json.dumps({'v1': {'errors': list(self.errors)}})}" if self.done else self.fate
        info = [{"local": text, "prefixlen": length, "scope": "global"} for text, length in self.addresses]
        links: list[dict[str, Any]] = [{"ifname": "eth0", "address": MAC, "addr_info": info}]
        return Completed(0, f"{result}\n==addresses==\n{json.dumps(links)}", "", 0.0)


@dataclass
class Stands:
    """A machine that runs as told, and has restarted ``restarting`` times."""

    alive: Callable[[], bool] = lambda: True
    restarting: int = 0

    def is_running(self) -> bool:
        return self.alive()

    def restarts(self) -> int:
        return self.restarting

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


def wait(
    guest: Guest,
    *,
    timeout: float = 2.0,
    address: Callable[[], str | None] = lambda: "10.0.0.11",
    alive: Callable[[], bool] = lambda: True,
    insight: Insight | None = None,
    limits: Limits | None = None,
    standing: Stands | None = None,
) -> Ready:
    return wait_until_ready(
        "one",
        limits=limits or Limits.within(timeout),
        address=address,
        login=guest.login,
        expected={MAC: ("10.0.0.11/24",)},
        standing=standing or Stands(alive),
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
    monkeypatch.setattr(Stands, "pause", lambda _self, seconds: pauses.append(seconds))
    guest = Guest([AuthenticationError("no key fits") for _ in range(5)])
    assert wait(guest, timeout=600).stage == "ready"
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_errors_of_cloud_init_fail() -> None:
    found = wait(Guest(errors=["no such module"]))
    assert (found.error, found.why) == ("failed", "cloud-init: no such module")


def test_cloud_init_that_is_not_done() -> None:
    found = wait(Guest(done=False))
    assert (found.stage, found.error) == ("cloud-init", "unreachable")
    assert found.why.startswith("cloud-init has not finished 0 s after the login")


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
            limits=Limits.within(timeout),
            transport=lambda: ways.pop(0) if ways else guest,
            expected={MAC: ("10.0.0.11/24",)},
            standing=Stands(),
        )

    assert (inside(20).stage, inside(20).error) == ("ready", "")
    ways = [None] * 50
    found = inside(0.2)
    assert (found.stage, found.error, found.why) == ("inside", "unreachable", "no way in without a login")
    ways = []
    guest = Guest(addresses=())
    assert inside(0.2).why == "the NIC 02:00:00:00:00:01 should have 10.0.0.11/24 and has no address"


def test_each_stage_has_a_limit_of_its_own() -> None:
    short = Limits(boot=0.2, login=60, cloud_init=60, total=60)
    assert wait(Guest(), limits=short, address=lambda: None).why == "no address after 0 s"
    # The address was known from the beginning: the login is what shows the end of the boot.
    assert wait(refused(), limits=short).stage == "ssh"
    found = iter([None, "10.0.0.11"])
    late = Limits(boot=60, login=0.2, cloud_init=60, total=60)
    assert wait(refused(), limits=late, address=lambda: next(found)).seconds < 20
    assert wait(Guest(), limits=Limits(60, 60, 0.2, 60)).stage == "ready"
    # What the user gives is for all of them.
    assert limits_of("lxc", 7.0) == Limits(7.0, 7.0, 7.0, 7.0)
    assert limits_of("qemu", None).boot > limits_of("lxc", None).boot


def test_a_machine_that_restarts_again_and_again_is_not_waited_for() -> None:
    panics = Insight(lambda _error: Reason("kernel panic: no init"), 30.0)
    found = wait(refused(), timeout=60, standing=Stands(restarting=3), insight=panics)
    assert found.why.startswith(
        "it restarts again and again, 3 times in 0 s: kernel panic: no init; seen out"
    )
    assert wait(refused(3), timeout=60, standing=Stands(restarting=2)).stage == "ready"


UNIT = "Id labrun-cloud-init.service\nLoadState {}\nActiveState {}\nResult {}\n"


@pytest.mark.parametrize(
    ("fate", "error", "why"),
    [
        (
            UNIT.format("loaded", "failed", "exit-code") + "said ValueError: no such user\nboot degraded",
            "failed",
            "cloud-init: labrun-cloud-init.service failed (exit-code): ValueError: no such user",
        ),
        (
            UNIT.format("masked", "inactive", "success") + "boot running",
            "failed",
            "cloud-init has not run: labrun-cloud-init.service is masked",
        ),
        (
            UNIT.format("loaded", "inactive", "success") + "boot running",
            "failed",
            "cloud-init has not run: labrun-cloud-init.service is inactive",
        ),
        ("disabled\nboot running", "failed", "cloud-init is disabled in it"),
        ("absent\nboot running", "failed", "there is no cloud-init in it"),
        (
            UNIT.format("loaded", "activating", "success") + "boot starting\njob slow.service",
            "unreachable",
            "the login (systemd: starting, waiting for slow.service)",
        ),
    ],
)
def test_what_has_become_of_cloud_init(fate: str, error: str, why: str) -> None:
    found = wait(Guest(done=False, fate=fate), timeout=5)
    assert (found.stage, found.error) == ("cloud-init", error)
    assert why in found.why


def answered(link: dict[str, Any], head: str = "") -> Completed:
    shown = [{"ifname": "eth0", "link_type": "ether", "address": MAC, **link}]
    return Completed(0, f"{head}\n==addresses==\n{json.dumps(shown)}", "", 0.0)


@pytest.mark.parametrize("which", ["eth0", "all"])
def test_why_an_ipv6_address_is_missing(which: str) -> None:
    off = f"ipv6-off /proc/sys/net/ipv6/conf/{which}/disable_ipv6"
    answer = read_answer(answered({"operstate": "UP", "flags": ["UP"]}, off))
    why = f"and has no address: net.ipv6.conf.{which}.disable_ipv6 is 1"
    assert unaddressed(answer, {MAC: ("fd00::1/64",)}).endswith(why)
    # IPv4 does not miss it.
    assert unaddressed(answer, {MAC: ("10.0.0.1/24",)}).endswith("and has no address")


def test_why_any_address_is_missing() -> None:
    failed = {"local": "fd00::1", "prefixlen": 64, "scope": "global", "dadfailed": True}
    up = {"operstate": "UP", "flags": ["UP"]}
    wanted = {MAC: ("fd00::1/64",)}
    twice = read_answer(answered({**up, "addr_info": [failed]}))
    assert unaddressed(twice, wanted).endswith(
        ": fd00::1/64: another device has it (duplicate address detection failed)"
    )
    assert unaddressed(read_answer(answered({"flags": []})), wanted).endswith(": eth0 is down")
    cut = read_answer(answered({"flags": ["UP"], "operstate": "DOWN"}))
    assert unaddressed(cut, wanted).endswith(": eth0 has no carrier")
    other = {"02:00:00:00:00:99": ("10.0.0.1/24",)}
    assert unaddressed(read_answer(answered(up)), other).endswith(": the guest has no NIC with this MAC")
    unbound = read_answer(answered(up, "no-driver PCI 8086:100e"))
    assert unaddressed(unbound, other).endswith(": its kernel has no driver for it (PCI 8086:100e)")


def test_the_console_s_last_line_is_shown_only_where_it_is_drawn() -> None:
    class Drawn(logging.Handler):
        is_drawn = True

        def emit(self, record: logging.LogRecord) -> None:
            told.append((record.__dict__["stage"], record.__dict__["detail"], record.__dict__["console"]))

    told: list[tuple[str, str, str]] = []
    asked: list[float] = []

    def line() -> str:
        asked.append(time.monotonic())
        return "[  OK  ] Reached target network.target\n"

    def booting(seconds: float) -> Ready:
        ready_at = time.monotonic() + seconds
        return wait_until_ready(
            "one",
            limits=Limits.within(30),
            address=lambda: "10.0.0.11" if time.monotonic() > ready_at else None,
            login=Guest().login,
            expected={},
            standing=Stands(),
            watch=ConsoleWatch("one", line, "emulated: minutes are normal"),
        )

    logger, shown = logging.getLogger(LOGGER_NAME), Drawn()
    logger.setLevel(logging.INFO)
    assert booting(3.5).stage == "ready"
    assert asked == [], "nobody sees it"
    logger.addHandler(shown)
    try:
        assert booting(3.5).stage == "ready"
    finally:
        logger.removeHandler(shown)
    note = "emulated: minutes are normal"
    assert told[:2] == [("address", note, ""), ("address", note, "[  OK  ] Reached target network.target")]
    assert told[2][:2] == ("ssh", f"10.0.0.11, {note}")
    assert len(asked) == 1, "and seldom"
