"""Real worker processes on a real sshd: the same results as threads, in the same order, whatever happens."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from nornir.core import Nornir
from nornir.core.task import AggregatedResult, Result, Task

from labrun.errors import ConnectionLostError, HypervisorError, LabrunError, WorkerLostError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.interruption import Interruption
from labrun.runner.commands.exec import run_command
from labrun.runner.engine.budget import Budget, OnSignal
from labrun.runner.engine.nornir import outcomes_of
from labrun.runner.engine.results import NotStartedError, cause_of
from labrun.runner.engine.rollout import MaxFail, Rollout
from labrun.runner.engine.runner_plugin import Interrupted
from labrun.runner.engine.shards import processes, tasks
from labrun.runner.engine.shards.messages import Event, Shard, Versions
from labrun.runner.engine.shards.processes import ProcessEngine
from labrun.runner.engine.shards.versions import own_versions
from labrun.tasks.guest.transport import LOGGED_IN_AT
from tests.loopback_sshd import LoopbackSshd
from tests.unit.runner.engine.shards.conftest import Over

_SECONDS = 60.0
FURTHER = ("true", "echo ä; exit 1")


def rows(result: AggregatedResult) -> list[Outcome]:
    return outcomes_of(result, "exec", "it")


def told(outcomes: list[Outcome]) -> list[tuple[object, ...]]:
    """Return the rows without the time that each took."""
    return [(row.host, row.name, row.status, row.actual, row.why) for row in outcomes]


def run(nornir: Nornir, script: str) -> AggregatedResult:
    return nornir.run(run_command, script=script, timeout=_SECONDS)


def reading(**limits: int) -> Budget:
    return Budget(**limits, deadline=_SECONDS, on_signal=OnSignal(interruption=Interruption()))  # type: ignore[arg-type]


def wait_for(path: Path, lines: int) -> None:
    """Wait until so many hosts have written a line."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        if path.exists() and path.read_text("utf-8").count("\n") >= lines:
            return
        time.sleep(0.02)
    raise AssertionError(f"only {path.read_text('utf-8') if path.exists() else 'nothing'}")


def kill(engine: ProcessEngine, *names: str) -> None:
    for name in names:
        os.kill(engine.processes()[name], signal.SIGKILL)


def noted(engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch) -> list[Shard]:
    """Return the shards that the engine is given, as it is given them."""
    given: list[Shard] = []
    begin = engine.run

    def run_noted(shards: Sequence[Shard]) -> Iterator[Event]:
        given.extend(shards)
        return begin(shards)

    monkeypatch.setattr(engine, "run", run_noted)
    return given


@pytest.mark.parametrize(
    "script",
    ["echo one; echo two >&2; exit 3", *(pytest.param(each, marks=pytest.mark.full) for each in FURTHER)],
)
def test_the_rows_are_those_of_threads(over: Over, engine: ProcessEngine, script: str) -> None:
    apart = rows(run(over(9, Budget(), engine), script))
    assert told(apart) == told(rows(run(over(9, Budget()), script)))
    assert len(apart) == 9


def test_a_login_that_fails_reads_the_same(over: Over, engine: ProcessEngine) -> None:
    known = "/nonexistent/known_hosts"
    apart = rows(run(over(3, Budget(), engine, alt_key_file=known), "true"))
    assert told(apart) == told(rows(run(over(3, Budget(), alt_key_file=known), "true")))
    assert {row.status for row in apart} == {Status.UNREACHABLE}


@pytest.mark.full
def test_where_a_login_worked_is_known_afterwards(
    over: Over, engine: ProcessEngine, sshd: LoopbackSshd
) -> None:
    nornir = over(3, Budget(), engine)
    run(nornir, "true")
    assert {host.data[LOGGED_IN_AT] for host in nornir.inventory.hosts.values()} == {sshd.port}


def test_every_worker_has_a_part(over: Over, engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = noted(engine, monkeypatch)
    run(over(10, Budget(), engine, size=4), "true")
    assert sorted(host.name for shard in shards for host in shard.hosts) == [f"host{n:02}" for n in range(10)]
    assert {shard.worker for shard in shards} == {"worker-1", "worker-2"}
    assert max(len(shard.hosts) for shard in shards) == 4


def here(task: Task) -> Result:
    return Result(task.host, result=os.getpid())


@pytest.mark.full
def test_a_task_that_workers_do_not_know_runs_here(over: Over, engine: ProcessEngine) -> None:
    results = over(3, Budget(), engine).run(here)
    assert [each.result for each in results.values()] == [os.getpid()] * 3


def test_a_host_with_secrets_stays_here(
    over: Over, engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    nornir = over(3, Budget(), engine)
    nornir.inventory.hosts["host01"].data["configure"] = {
        "sections": {"nmcli": {"secrets": ["psk of the lab"]}}
    }
    shards = noted(engine, monkeypatch)
    assert {row.status for row in rows(run(nornir, "true"))} == {Status.OK}
    assert sorted(host.name for shard in shards for host in shard.hosts) == ["host00", "host02"]


def test_reading_goes_on_where_a_worker_is_killed(
    over: Over, engine: ProcessEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "REPEATED", tasks.TASKS)
    log = tmp_path / "starts"
    script = f"echo start >>{log}; while [ ! -e {tmp_path}/killed ]; do sleep 0.1; done"

    def strike() -> None:
        wait_for(log, 6)
        kill(engine, "worker-1")
        (tmp_path / "killed").touch()

    killer = threading.Thread(target=strike)
    killer.start()
    result = rows(run(over(6, reading(), engine), script))
    killer.join()
    assert [row.status for row in result] == [Status.OK] * 6
    assert log.read_text("utf-8").count("start") == 9


def test_a_change_is_never_begun_again(over: Over, engine: ProcessEngine, tmp_path: Path) -> None:
    log = tmp_path / "starts"

    def strike() -> None:
        wait_for(log, 6)
        kill(engine, "worker-1")
        (tmp_path / "go").touch()

    killer = threading.Thread(target=strike)
    killer.start()
    script = f"echo start >>{log}; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
    results = run(over(6, Budget(), engine, size=3), script)
    killer.join()
    lost = [host for host, each in results.items() if isinstance(cause_of(each), WorkerLostError)]
    assert len(lost) == 3
    assert [row.status for row in rows(results)].count(Status.OK) == 3
    assert {row.why for row in rows(results) if row.status is Status.UNKNOWN} == {"the worker was lost"}
    assert log.read_text("utf-8").count("start") == 6


def test_max_fail_counts_across_shards(over: Over, engine: ProcessEngine) -> None:
    budget = Budget(workers=2, rollout=Rollout(max_fail=MaxFail(1)))
    results = run(over(12, budget, engine), "exit 1")
    never = [host for host, each in results.items() if isinstance(cause_of(each), NotStartedError)]
    # Two at a time: the second failure is one too many, and one more may have begun by then.
    assert 9 <= len(never) <= 10
    whys = {str(cause_of(results[host])).partition(": ")[2] for host in never}
    assert len(whys) == 1
    assert "--max-fail is 1" in whys.pop()


def test_a_canary_that_fails_keeps_all_others_back(over: Over, engine: ProcessEngine, tmp_path: Path) -> None:
    budget = Budget(rollout=Rollout(canary=1, max_fail=MaxFail(0)))
    results = run(over(8, budget, engine), f"echo start >>{tmp_path}/starts; exit 1")
    assert (tmp_path / "starts").read_text("utf-8") == "start\n"
    assert [row.status for row in rows(results)] == [Status.FAILED] + [Status.SKIPPED] * 7


@pytest.mark.full
def test_a_canary_that_is_well_lets_the_others_begin(over: Over, engine: ProcessEngine) -> None:
    budget = Budget(rollout=Rollout(canary=1, max_fail=MaxFail(0)))
    assert {row.status for row in rows(run(over(8, budget, engine), "true"))} == {Status.OK}


def test_hosts_of_a_group_are_never_worked_on_together(
    over: Over, engine: ProcessEngine, tmp_path: Path
) -> None:
    groups = {f"host{number:02}": "pair" for number in range(6)}
    script = f"mkdir {tmp_path}/alone || exit 1; sleep 0.1; rmdir {tmp_path}/alone"
    results = rows(run(over(6, Budget(rollout=Rollout(groups=groups)), engine), script))
    assert {row.status for row in results} == {Status.OK}


@pytest.mark.full
def test_a_host_waits_for_those_that_it_is_reached_through(
    over: Over, engine: ProcessEngine, tmp_path: Path
) -> None:
    after = {f"host{number:02}": ("host00",) for number in range(1, 6)}
    script = f"sleep 0.1; echo $(wc -l <{tmp_path}/done 2>/dev/null || echo 0); echo x >>{tmp_path}/done"
    results = rows(run(over(6, Budget(rollout=Rollout(after=after)), engine), script))
    seen = [int((row.actual or "-1").split()[0]) for row in results]
    assert seen[0] == 0
    assert min(seen[1:]) >= 1


def test_ctrl_c_ends_reading_within_two_seconds(over: Over, engine: ProcessEngine, tmp_path: Path) -> None:
    def strike() -> None:
        wait_for(tmp_path / "starts", 4)
        began.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    began: list[float] = []
    striker = threading.Thread(target=strike)
    striker.start()
    budget = reading(workers=2)
    results = run(over(12, budget, engine), f"echo start >>{tmp_path}/starts; exec sleep 600")
    seconds = time.monotonic() - began[0]
    striker.join()
    interruption = budget.on_signal.interruption
    assert interruption is not None
    assert interruption.came
    assert len(results) == 12
    assert all(isinstance(cause_of(each), ConnectionLostError | NotStartedError) for each in results.values())
    assert seconds < 4  # two, on a machine that may be very busy


def test_ctrl_c_waits_for_changes(over: Over, engine: ProcessEngine, tmp_path: Path) -> None:
    def strike() -> None:
        wait_for(tmp_path / "starts", 4)
        os.kill(os.getpid(), signal.SIGINT)
        (tmp_path / "go").touch()

    striker = threading.Thread(target=strike)
    striker.start()
    script = f"echo start >>{tmp_path}/starts; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo end"
    with pytest.raises(Interrupted) as interrupted:
        run(over(12, Budget(workers=2), engine), script)
    striker.join()
    outcomes = rows(interrupted.value.partial)
    ended = [row for row in outcomes if row.actual == "end"]
    assert len(ended) == (tmp_path / "starts").read_text("utf-8").count("start")
    assert {row.status for row in outcomes if row not in ended} == {Status.SKIPPED}


def test_no_process_is_left(over: Over) -> None:
    engine = ProcessEngine(2)
    engine.start()
    run(over(4, Budget(), engine), "true")
    pids = engine.processes().values()
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    engine.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.full
def test_a_worker_that_is_stopped_is_lost(
    over: Over, engine: ProcessEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twelve of these are longer than the five seconds after which a worker says that it is there.
    monkeypatch.setattr(processes, "BEAT", 0.6)

    def strike() -> None:
        wait_for(tmp_path / "starts", 4)
        os.kill(engine.processes()["worker-1"], signal.SIGSTOP)

    striker = threading.Thread(target=strike)
    striker.start()
    results = run(over(4, Budget(), engine, size=2), f"echo start >>{tmp_path}/starts; sleep 8")
    striker.join()
    assert [row.status for row in rows(results)].count(Status.OK) == 2
    assert sum(isinstance(cause_of(each), WorkerLostError) for each in results.values()) == 2


def test_a_machine_that_ends_is_not_waited_for(over: Over, engine: ProcessEngine, tmp_path: Path) -> None:
    def gone(host: str) -> str:
        return "stopped" if host == "host01" and (tmp_path / "starts").exists() else ""

    # The one that is there ends by itself.
    script = f"echo start >>{tmp_path}/starts; sleep 2"
    whys = [row.why for row in rows(run(over(2, Budget(gone=gone), engine), script))]
    assert whys == [None, "the machine was stopped while labrun worked on it (`labrun up` brings it back)"]


def test_workers_of_other_versions_are_refused(
    over: Over, engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Versions("0.0.9", "3.10", {"nornir": "3.5.0", "paramiko": own_versions().packages["paramiko"]})
    monkeypatch.setattr(engine, "versions", lambda: {"worker-1": other})
    with pytest.raises(HypervisorError) as refused:
        run(over(2, Budget(), engine), "true")
    own = own_versions()
    assert refused.value.reason == (
        f"worker-1 has labrun 0.0.9 instead of {own.labrun}; "
        f"worker-1 has Python 3.10 instead of {own.python}; "
        f"worker-1 has netmiko missing instead of {own.packages['netmiko']}; "
        f"worker-1 has nornir 3.5.0 instead of {own.packages['nornir']}"
    )
    assert refused.value.exit_code == 5


def test_a_worker_that_does_not_start_is_named(over: Over, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_MODULE", "labrun.no_such_module")
    engine = ProcessEngine(1)
    try:
        with pytest.raises(
            LabrunError, match=r"^engine: worker-1 ended before it had started \(--engine threads"
        ):
            run(over(2, Budget(), engine), "true")
    finally:
        engine.close()
