"""What is left of a controller that is killed in the middle of a change, with real workers on a real sshd."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cloudpickle.cloudpickle import register_pickle_by_value

from labrun.runner.engine.fleet.client import connected
from tests.connections import connections_to
from tests.fleet_processes import LocalFleet, local_fleet
from tests.loopback_sshd import LoopbackSshd, loopback_sshd
from tests.unit.runner.engine.fleet.controller import controller

if TYPE_CHECKING:
    from distributed import Client

pytestmark = pytest.mark.filterwarnings("default")  # Dask's own are not labrun's
_SECONDS = 180.0  # bounds on waiting, for a machine that is busy
ANSWER = "what-a-host-has-said"

# The fleet's programs do not find the tests.
register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("killed"), MaxSessions="100") as running:
        yield running


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    with local_fleet(tmp_path, "a", "b") as running:
        yield running


@dataclass(frozen=True)
class Change:
    """A script that notes when it begins and ends, and waits for a gate in between."""

    folder: Path

    @property
    def script(self) -> str:
        """Return it."""
        waits = f"while [ ! -e {self.folder}/gate ]; do sleep 0.1; done"
        return f"echo >>{self.folder}/begun; {waits}; echo >>{self.folder}/ended; echo {ANSWER}"

    def open(self) -> None:
        (self.folder / "gate").touch()

    def count(self, name: str) -> int:
        """Return how many hosts have ``begun`` or ``ended``."""
        file = self.folder / name
        return len(file.read_bytes()) if file.exists() else 0


@pytest.fixture
def change(tmp_path: Path) -> Iterator[Change]:
    made = Change(tmp_path)
    yield made
    made.open()


def wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def kill(process: subprocess.Popen[bytes], change: Change) -> None:
    """Kill a controller as soon as two hosts have begun."""
    try:
        wait(lambda: change.count("begun") == 2)
    finally:
        process.kill()
        process.wait()


def in_worker() -> tuple[bool, int]:
    """Return whether the worker knows that a controller has gone, and how many it still works for."""
    from labrun.runner.engine.fleet import work_here

    return bool(work_here._orphans), len(work_here._works)


def in_scheduler(dask_scheduler: Any) -> tuple[int, str]:
    """Return how many tasks the scheduler knows, and all events that it keeps."""
    return len(dask_scheduler.tasks), repr(dask_scheduler.get_events())


@pytest.fixture
def client(fleet: LocalFleet) -> Iterator[Client]:
    """Who looks into the fleet."""
    with connected(f"tcp://127.0.0.1:{fleet.port}", None) as made:
        yield made


def of_workers(client: Client) -> set[tuple[bool, int]]:
    return set(client.run(in_worker).values())


def nothing_is_kept(client: Client) -> None:
    wait(lambda: client.run_on_scheduler(in_scheduler)[0] == 0)
    assert ANSWER not in client.run_on_scheduler(in_scheduler)[1]
    assert not any(client.has_what().values())


def test_no_further_host_begins_and_those_in_progress_end(
    fleet: LocalFleet, client: Client, change: Change, sshd: LoopbackSshd
) -> None:
    kill(controller(str(fleet.port), sshd, 6, _SECONDS, change.script), change)
    # Each of them looks by itself.
    wait(lambda: {gone for gone, _ in of_workers(client)} == {True})
    change.open()
    wait(lambda: of_workers(client) == {(False, 0)})
    assert (change.count("begun"), change.count("ended")) == (2, 2)
    nothing_is_kept(client)
    assert [process.poll() for process in fleet.processes] == [None, None, None]


@pytest.mark.full
def test_no_worker_goes_on_after_the_time_limit(
    fleet: LocalFleet, client: Client, change: Change, sshd: LoopbackSshd
) -> None:
    kill(controller(str(fleet.port), sshd, 6, 15.0, change.script), change)
    # The gate stays closed.
    wait(lambda: of_workers(client) == {(False, 0)})
    assert (change.count("begun"), change.count("ended")) == (2, 0)
    wait(lambda: not any(connections_to(sshd.port, worker.pid) for worker in fleet.workers.values()))
    nothing_is_kept(client)


@pytest.mark.full
def test_the_scheduler_keeps_nothing_of_a_run(
    fleet: LocalFleet, client: Client, change: Change, sshd: LoopbackSshd
) -> None:
    change.open()
    assert controller(str(fleet.port), sshd, 6, _SECONDS, change.script).wait(_SECONDS) == 0
    assert (change.count("begun"), change.count("ended")) == (6, 6)
    assert of_workers(client) == {(False, 0)}
    nothing_is_kept(client)


def test_worker_processes_end_with_it(change: Change, sshd: LoopbackSshd) -> None:
    process = controller("processes", sshd, 6, _SECONDS, change.script)
    wait(lambda: change.count("begun") == 2 or process.poll() is not None)
    listed = [
        path.read_text("ascii").split() for path in Path(f"/proc/{process.pid}/task").glob("*/children")
    ]
    workers = [Path("/proc", child) for children in listed for child in children]
    assert len(workers) == 2
    kill(process, change)
    wait(lambda: not any(worker.exists() for worker in workers))
    assert change.count("begun") == 2
