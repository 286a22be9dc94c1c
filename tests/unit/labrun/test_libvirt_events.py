"""What libvirt tells of machines by itself, by its own test driver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labrun.hypervisor import close_all, connect
from labrun.libvirt_events import Followed, follow
from labrun.tasks.provision.domains import state_of
from labrun.tasks.provision.standing import MachineStanding


@pytest.fixture
def domain() -> Iterator[Any]:
    """Yield the machine of `test:///default`: connections of one process share it, and events cross them."""
    domain = connect("test:///default").lookupByName("test")
    yield domain
    if not domain.isActive():
        domain.create()
    close_all()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def live() -> Followed:
    followed = follow("test:///default", "test")
    until(lambda: followed.is_live)
    return followed


def test_a_machine_is_asked_only_after_libvirt_has_told_of_a_change(domain: Any) -> None:
    asked: list[float] = []

    def runs() -> bool:
        asked.append(time.monotonic())
        return state_of(domain) == "running"

    standing = MachineStanding(live(), runs)
    began = time.monotonic()
    while time.monotonic() < began + 1.5:
        assert standing.is_running()
        standing.pause(0.05)
    assert len(asked) == 1
    domain.destroy()
    until(lambda: not standing.is_running())
    assert len(asked) < 6
    domain.create()
    until(standing.is_running)


def test_a_pause_ends_when_something_happens(domain: Any) -> None:
    standing = MachineStanding(live(), lambda: True)
    assert standing.is_running()
    began = time.monotonic()
    domain.suspend()
    standing.pause(30.0)
    assert time.monotonic() - began < 10
    domain.resume()


def test_restarts_are_counted_from_the_begin_of_the_wait() -> None:
    followed = live()
    before = MachineStanding(followed, lambda: True)
    # The test driver tells nothing of a reboot: tests/e2e/test_readiness.py has real ones.
    followed.heard(restart=True)
    assert before.restarts() == 1
    assert MachineStanding(followed, lambda: True).restarts() == 0


def test_others_changes_wake_nobody(domain: Any) -> None:
    other = follow("test:///default", "another")
    until(lambda: other.is_live)
    followed = live()
    count, before = followed.count, other.count
    domain.suspend()
    domain.resume()
    until(lambda: followed.count == count + 2)
    assert other.count == before


def test_without_events_it_is_asked_from_time_to_time(tmp_path: Path) -> None:
    silent = follow(f"test://{tmp_path}/none.xml", "test")
    asked: list[float] = []
    standing = MachineStanding(silent, lambda: not asked.append(0.0))  # type: ignore[func-returns-value]
    began = time.monotonic()
    while len(asked) < 2:
        assert standing.is_running()
        standing.pause(0.02)
        assert time.monotonic() < began + 10
    assert time.monotonic() - began > 0.9
    assert not silent.is_live
