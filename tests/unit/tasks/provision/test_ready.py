"""The stages of readiness, each with the reason when it is not reached, driven by a scripted guest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from labrun.errors import AuthenticationError, HostKeyError, TransportError, UnreachableError
from labrun.ports import Completed, Transport
from labrun.tasks.provision.ready import Ready, wait_until_ready

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
) -> Ready:
    return wait_until_ready(
        "one",
        timeout=timeout,
        address=address,
        login=guest.login,
        expected={MAC: ("10.0.0.11/24",)},
        alive=alive,
    )


def test_ready() -> None:
    assert (wait(Guest()).stage, wait(Guest()).error) == ("ready", "")


def test_it_is_asked_again_until_it_answers() -> None:
    refused: list[TransportError] = [UnreachableError("port 22 refused") for _ in range(3)]
    assert wait(Guest(refused)).stage == "ready"


def test_no_lease_in_time() -> None:
    found = wait(Guest(), timeout=0.2, address=lambda: None)
    assert (found.stage, found.error, found.why) == ("address", "unreachable", "no address after 0 s")


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
    assert found.why.startswith("cloud-init is not done after")


def test_an_address_that_was_not_applied_fails() -> None:
    found = wait(Guest(addresses=(("10.0.0.99", 24),)))
    assert (found.stage, found.error) == ("address", "failed")
    assert found.why == f"the NIC {MAC} should have 10.0.0.11/24 and has 10.0.0.99/24"
    assert wait(Guest(addresses=())).why.endswith("and has no address")
