"""A real scheduler and real workers on loopback: nothing begins twice, and no host is without an outcome.

The hosts are names of one real sshd; what begins there writes a line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Defaults, Groups, Hosts, Inventory
from nornir.core.task import AggregatedResult

from labrun.errors import EngineError, WorkerLostError
from labrun.outcome import Status
from labrun.runner.cli.interruption import Interruption
from labrun.runner.commands.exec import run_command
from labrun.runner.engine.budget import Budget, OnSignal
from labrun.runner.engine.fleet import client
from labrun.runner.engine.fleet.certificates import CONTROLLER, bundle
from labrun.runner.engine.fleet.wheel import own_wheel
from labrun.runner.engine.nornir import build_nornir, closing_connections, outcomes_of
from labrun.runner.engine.results import cause_of
from labrun.runner.engine.runner_plugin import Interrupted
from labrun.runner.engine.shards.dask_engine import DaskEngine
from labrun.runner.engine.shards.messages import HostOutcome, HostSpec, Limits, Shard, TaskRef
from labrun.runner.engine.shards.shard_runner import ShardRunner
from tests.fleet_processes import LocalFleet, certificates, local_fleet, program
from tests.loopback_sshd import LoopbackSshd, free_port, loopback_sshd

pytestmark = pytest.mark.filterwarnings("default")  # Dask's own are not labrun's
_SECONDS = 180.0  # bounds on waiting, for a machine that is busy
_COMMAND = "labrun.runner.commands.exec:run_command"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("fleet"), MaxSessions="100") as running:
        yield running


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    with local_fleet(tmp_path, "a", "b") as running:
        yield running


@pytest.fixture
def engine(fleet: LocalFleet) -> Iterator[DaskEngine]:
    made = fleet.engine()
    try:
        yield made
    finally:
        made.close()


class Scene:
    """Hosts on a real sshd, a script that they run, and the file in which each start is a line."""

    def __init__(self, sshd: LoopbackSshd, folder: Path):
        self.sshd = sshd
        self.starts = folder / "starts"
        self.gate = folder / "gate"
        self.script = f"echo began >>{self.starts}; while [ ! -e {self.gate} ]; do sleep 0.1; done; echo it"

    def run(
        self, engine: DaskEngine, hosts: int, script: str | None = None, run: str = "run"
    ) -> AggregatedResult:
        names = [f"host{number:02}" for number in range(hosts)]
        members = Hosts({name: self.sshd.host(name) for name in names})
        inventory = Inventory(hosts=members, groups=Groups(), defaults=Defaults())
        budget = Budget(deadline=_SECONDS, on_signal=OnSignal(interruption=Interruption()))
        with closing_connections(inventory):
            nornir = build_nornir(inventory, budget, runner=ShardRunner(budget, engine, 64, {}, run))
            return nornir.run(run_command, script=script or self.script, timeout=_SECONDS)

    def begun(self) -> int:
        return self.starts.read_text("ascii").count("\n") if self.starts.exists() else 0

    def wait(self, starts: int) -> None:
        until = time.monotonic() + _SECONDS
        while self.begun() < starts:
            assert time.monotonic() < until, f"{self.begun()} of {starts} have begun"
            time.sleep(0.02)

    def meanwhile(self, starts: int, act: Callable[[], object]) -> threading.Thread:
        """Do something as soon as so many hosts have begun, and then let all of them end."""

        def then() -> None:
            try:
                self.wait(starts)
                act()
            finally:
                self.gate.touch()

        thread = threading.Thread(target=then)
        thread.start()
        return thread


@pytest.fixture
def scene(sshd: LoopbackSshd, tmp_path: Path) -> Scene:
    return Scene(sshd, tmp_path)


def told(result: AggregatedResult) -> list[tuple[str, Status, str | None]]:
    return [(row.host, row.status, row.actual) for row in outcomes_of(result, "exec", "it")]


def lost(result: AggregatedResult) -> int:
    return sum(isinstance(cause_of(each), WorkerLostError) for each in result.values())


@pytest.mark.full
def test_both_workers_have_a_part_and_every_host_its_row(scene: Scene, engine: DaskEngine) -> None:
    script = f"echo began >>{scene.starts}; echo it"
    result = scene.run(engine, 6, script)
    assert told(result) == [(f"host{n:02}", Status.OK, "it") for n in range(6)]
    assert scene.begun() == 6


@pytest.mark.full
def test_outcomes_come_while_others_still_work(scene: Scene, engine: DaskEngine, sshd: LoopbackSshd) -> None:
    (worker, _) = engine.start()
    specs = tuple(
        HostSpec(
            name,
            "127.0.0.1",
            sshd.port,
            sshd.user,
            key_file=str(sshd.state.identity),
            known_hosts=str(sshd.state.known_hosts),
            options={"host_key_alias": "loop"},
        )
        for name in ("one", "two")
    )
    # One host at a time, and the second never ends before the first has been heard of.
    first = f"[ -e {scene.starts} ] || {{ touch {scene.starts}; exit 0; }}"
    waits = f"{first}; while [ ! -e {scene.gate} ]; do sleep 0.1; done"
    task = TaskRef(_COMMAND, {"script": waits, "timeout": _SECONDS}, Limits(1, 1))
    order = []
    for event in engine.run([Shard("r/1/1", worker, task, specs)]):
        if isinstance(event, HostOutcome):
            order.append((event.host, scene.gate.exists()))
            scene.gate.touch()
    assert order == [("one", False), ("two", True)]


def test_a_worker_that_is_killed_leaves_its_hosts_unknown(
    scene: Scene, engine: DaskEngine, fleet: LocalFleet
) -> None:
    thread = scene.meanwhile(6, fleet.workers["a"].kill)
    result = scene.run(engine, 6)
    thread.join()
    assert (scene.begun(), lost(result)) == (6, 3)
    assert [status for _, status, _ in told(result)].count(Status.UNKNOWN) == 3


def retire(fleet: LocalFleet, *names: str) -> None:
    """Take workers out of the fleet as an administrator of Dask would, from a process of its own."""
    code = (
        "import sys; from distributed import Client; c = Client(sys.argv[1]);"
        "w = c.scheduler_info(n_workers=-1)['workers'];"
        "c.retire_workers([a for a, i in w.items() if i['name'] in sys.argv[2:]], close_workers=True)"
    )
    address = f"tcp://127.0.0.1:{fleet.port}"
    done = subprocess.run(
        [sys.executable, "-c", code, address, *names],
        timeout=_SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_worker_that_is_retired_leaves_its_hosts_unknown(
    scene: Scene, engine: DaskEngine, fleet: LocalFleet
) -> None:
    thread = scene.meanwhile(6, lambda: retire(fleet, "a"))
    result = scene.run(engine, 6)
    thread.join()
    assert (scene.begun(), lost(result)) == (6, 3)


def test_a_result_that_is_lost_after_the_end_is_not_made_again(
    scene: Scene, engine: DaskEngine, fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcomes have been told as they came: what Dask loses is only the list of them."""
    ended = engine._ended
    scene.gate.touch()

    def late(shard: Shard, future: Any) -> Any:
        fleet.workers[shard.worker].kill()
        fleet.workers[shard.worker].wait()
        return ended(shard, future)

    monkeypatch.setattr(engine, "_ended", late)
    result = scene.run(engine, 4)
    assert (scene.begun(), lost(result)) == (4, 0)
    assert {status for _, status, _ in told(result)} == {Status.OK}


def test_without_its_scheduler_a_run_ends(scene: Scene, engine: DaskEngine, fleet: LocalFleet) -> None:
    thread = scene.meanwhile(4, fleet.scheduler.kill)
    result = scene.run(engine, 4)
    thread.join()
    assert (scene.begun(), lost(result)) == (4, 4)
    for worker in fleet.workers.values():
        worker.wait(_SECONDS)
    # What may be done again is done here.
    assert engine.start() == []
    assert {status for _, status, _ in told(scene.run(engine, 2, "echo it"))} == {Status.OK}


@pytest.mark.full
def test_a_worker_ends_with_its_input(fleet: LocalFleet) -> None:
    for worker in fleet.workers.values():
        assert worker.stdin is not None
        worker.stdin.close()
    assert [worker.wait(_SECONDS) for worker in fleet.workers.values()] == [0, 0]


def test_cancelling_lets_no_further_host_begin(scene: Scene, engine: DaskEngine) -> None:
    thread = scene.meanwhile(2, lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        result = scene.run(engine, 2)
    except Interrupted as signalled:
        result = signalled.partial
    thread.join()
    assert (len(result), scene.begun(), lost(result)) == (2, 2, 0)


@pytest.mark.full
def test_a_fleet_outlives_an_engine(scene: Scene, fleet: LocalFleet) -> None:
    scene.gate.touch()
    for number in range(2):
        engine = fleet.engine()
        assert {status for _, status, _ in told(scene.run(engine, 2, run=f"run{number}"))} == {Status.OK}
        engine.close()
        engine.close()
    assert scene.begun() == 4
    assert [process.poll() for process in fleet.processes] == [None, None, None]


def test_nothing_listens_but_the_scheduler_and_the_workers(fleet: LocalFleet) -> None:
    listed = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    pids = [f"pid={process.pid}," for process in fleet.processes]
    sockets = [line.split()[3] for line in listed.splitlines() if any(pid in line for pid in pids)]
    assert len(sockets) == 3
    assert {socket.rpartition(":")[0] for socket in sockets} == {"127.0.0.1"}


def test_no_scheduler_is_a_message() -> None:
    port = free_port()
    with pytest.raises(EngineError) as raised:
        DaskEngine("127.0.0.1", port).start()
    assert raised.value.exit_code == 5
    assert raised.value.reason.startswith(f"no scheduler answers at 127.0.0.1:{port}: ")


@pytest.mark.full
def test_no_worker_is_a_message(tmp_path: Path) -> None:
    with local_fleet(tmp_path) as empty:
        engine = empty.engine()
        with pytest.raises(
            EngineError,
            match=r"^engine: the scheduler has no worker \(`labrun fleet status` shows the fleet\)$",
        ):
            engine.start()
        engine.close()


@pytest.mark.full
def test_another_source_of_the_same_version_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    with zipfile.ZipFile(BytesIO(own_wheel().content)) as wheel:
        wheel.extractall(other)
    with (other / "labrun" / "errors.py").open("a") as file:
        file.write("# mended in place\n")
    with local_fleet(tmp_path, "a", "b", variables={"b": {"PYTHONPATH": str(other)}}) as running:
        engine = running.engine()
        with pytest.raises(EngineError) as raised:
            engine.start()
        engine.close()
    own = own_wheel()
    assert raised.value.reason.startswith(f"b has labrun {own.version} (source ")
    assert raised.value.reason.endswith(f" instead of {own.version} (source {own.source})")
    assert raised.value.exit_code == 5


@pytest.mark.full
def test_certificates_of_one_fleet_work(scene: Scene, tmp_path: Path) -> None:
    scene.gate.touch()
    with local_fleet(tmp_path, "a", tls=certificates(tmp_path / "own")) as running:
        engine = running.engine()
        assert {status for _, status, _ in told(scene.run(engine, 2))} == {Status.OK}
        engine.close()


def test_certificates_of_another_fleet_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Dask tries again and again, for as long as it may, to shake hands.
    monkeypatch.setattr(client, "_SECONDS", 3)
    other = certificates(tmp_path / "other")
    with local_fleet(tmp_path, "a", tls=certificates(tmp_path / "own")) as running:
        stranger = DaskEngine("127.0.0.1", running.port, bundle(other, CONTROLLER))
        with pytest.raises(EngineError, match=f"no scheduler answers at 127.0.0.1:{running.port}"):
            stranger.start()
        with pytest.raises(EngineError, match=f"no scheduler answers at 127.0.0.1:{running.port}"):
            DaskEngine("127.0.0.1", running.port).start()


@pytest.mark.full
def test_a_worker_with_certificates_of_another_fleet_does_not_join(tmp_path: Path) -> None:
    other = certificates(tmp_path / "other")
    with local_fleet(tmp_path, "a", tls=certificates(tmp_path / "own")) as running:
        address = f"tls://127.0.0.1:{running.port}"
        words = [str(tmp_path), address, "127.0.0.1", str(free_port()), "x", str(other)]
        with program("worker", tmp_path / "x.log", *words) as worker:
            worker.wait(_SECONDS)
        engine = running.engine()
        assert engine.start() == ["a"]
        engine.close()
