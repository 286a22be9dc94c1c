"""The runner: budgets, deadlines, Ctrl-C, and a row for every host whatever happened to it."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import ConnectionOptions, Defaults, Groups, Host, Hosts, Inventory
from nornir.core.task import Result, Task

from labrun.errors import (
    AuthenticationError,
    CommandError,
    ConnectionLostError,
    HypervisorError,
    UnreachableError,
)
from labrun.outcome import Outcome, Status, exit_code
from labrun.ports import Completed
from labrun.progress import LOGGER_NAME
from labrun.runner.cli.interruption import Interruption
from labrun.runner.engine.budget import Budget, OnSignal
from labrun.runner.engine.nornir import build_nornir, cause_of, closing_connections, outcomes_of
from labrun.runner.engine.results import NotStartedError, results_of
from labrun.runner.engine.rollout import Agenda, MaxFail, Rollout
from labrun.runner.engine.runner_plugin import Interrupted
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.ssh_login import SshLogin
from labrun.tasks.guest.transport import port_of, transport_of
from tests import places
from tests.loopback_sshd import LoopbackSshd, loopback_sshd


def inventory(count: int) -> Inventory:
    hosts = Hosts({f"host{n:02}": Host(f"host{n:02}", hostname="127.0.0.1") for n in range(count)})
    return Inventory(hosts=hosts, groups=Groups(), defaults=Defaults())


class Meter:
    """Counts how many are inside at once, and lets them out on demand."""

    def __init__(self) -> None:
        self.inside = self.most = self.total = 0
        self.lock = threading.Condition()
        self.open = threading.Event()

    def enter(self) -> None:
        with self.lock:
            self.inside += 1
            self.total += 1
            self.most = max(self.most, self.inside)
            self.lock.notify_all()

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1

    def await_inside(self, count: int) -> None:
        with self.lock:
            assert self.lock.wait_for(lambda: self.inside >= count, timeout=60)

    def let_go_at(self, count: int) -> None:
        self.await_inside(count)
        self.open.set()


def held(task: Task, meter: Any) -> Result:
    meter.enter()
    assert meter.open.wait(120)
    meter.leave()
    return Result(task.host, result="done")


@pytest.fixture
def meter() -> Iterator[Meter]:
    made = Meter()
    yield made
    made.open.set()


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_every_host_has_its_result_in_order() -> None:
    def name(task: Task) -> str:
        return task.host.name

    results = build_nornir(inventory(50), Budget(workers=8)).run(name)
    assert list(results) == [f"host{n:02}" for n in range(50)]
    assert all(results[host].result == host for host in results)


def test_no_hosts_is_no_error() -> None:
    assert build_nornir(inventory(0)).run(held, meter=None) == {}


def test_no_more_hosts_at_once_than_workers(meter: Meter) -> None:
    thread = in_background(lambda: meter.let_go_at(3))
    build_nornir(inventory(12), Budget(workers=3)).run(held, meter=meter)
    thread.join(60)
    assert (meter.most, meter.total) == (3, 12)


def test_no_more_logins_at_once_than_connectors(meter: Meter) -> None:
    def connect(task: Task, meter: Any) -> None:
        with pace().turn():
            held(task, meter)

    thread = in_background(lambda: meter.let_go_at(2))
    build_nornir(inventory(10), Budget(workers=10, connectors=2)).run(connect, meter=meter)
    thread.join(60)
    assert (meter.most, meter.total) == (2, 10)


@pytest.mark.parametrize(("workers", "connectors"), [(0, 1), (1, 0), (-1, 1)])
def test_a_budget_of_nobody_is_refused(workers: int, connectors: int) -> None:
    with pytest.raises(ValueError, match=r"^workers and connectors must be 1 or more$"):
        Budget(workers, connectors)


def failing(task: Task) -> Result:
    errors = {
        "host00": UnreachableError("no answer", step="connect", hint="is it on?"),
        "host01": AuthenticationError("no key fits", step="login"),
        "host02": ConnectionLostError("cut", step="script"),
        "host03": CommandError("exit status 2"),
        "host04": HypervisorError("libvirt is gone"),
        "host05": KeyError("surprise"),
        "host06": SystemExit(3),
    }
    if task.host.name in errors:
        raise errors[task.host.name]
    row = Outcome(task.host.name, "sysctl", "a.b", Status.OK)
    return Result(task.host, result=row if task.host.name == "host07" else [row, row])


def test_what_a_host_raises_becomes_its_row() -> None:
    rows = outcomes_of(build_nornir(inventory(9)).run(failing), "machine", "boot")
    told = [(row.host, row.section, row.name, row.status.value, row.why) for row in rows]
    assert told == [
        ("host00", "machine", "boot", "unreachable", "connect: no answer (is it on?)"),
        ("host01", "machine", "boot", "unreachable", "login: no key fits"),
        ("host02", "machine", "boot", "unknown", "script: cut"),
        ("host03", "machine", "boot", "failed", "exit status 2"),
        ("host04", "machine", "boot", "failed", "libvirt is gone"),
        ("host05", "machine", "boot", "failed", "KeyError: 'surprise'"),
        ("host06", "machine", "boot", "failed", "SystemExit: 3"),
        ("host07", "sysctl", "a.b", "ok", None),
        ("host08", "sysctl", "a.b", "ok", None),
        ("host08", "sysctl", "a.b", "ok", None),
    ]
    assert [row.exit_code for row in rows[:5]] == [4, 4, 4, 1, 5]
    assert exit_code(rows) == 5


def test_a_host_that_raised_gets_a_row_for_everything_it_was_asked_for() -> None:
    results = build_nornir(inventory(1)).run(failing)
    assert [row.name for row in outcomes_of(results, "nmcli", "network1", "network2")] == [
        "network1",
        "network2",
    ]
    assert [row.name for row in outcomes_of(results, "ready")] == ["ready"]
    rows = outcomes_of(results, "x", rows={"host00": [("nmcli", "network1"), ("sshd", "port")]})
    assert [(row.section, row.name) for row in rows] == [("nmcli", "network1"), ("sshd", "port")]


def test_a_task_that_gives_no_rows_is_a_mistake_not_a_success() -> None:
    def gives_text(task: Task) -> str:
        return "fine"

    with pytest.raises(TypeError, match=r"^the task on host00 gave str, not outcomes$"):
        outcomes_of(build_nornir(inventory(1)).run(gives_text), "x")


def test_the_results_are_of_the_type_that_was_asked_for() -> None:
    def works_on_one(task: Task) -> str:
        if task.host.name == "host01":
            raise UnreachableError("no")
        return "fine"

    results = build_nornir(inventory(2)).run(works_on_one)
    typed = results_of(results, str)
    assert typed["host00"] == "fine"
    assert isinstance(typed["host01"], UnreachableError)
    with pytest.raises(TypeError, match=r"^the task on host00 returned str, not Completed$"):
        results_of(results, Completed)


def test_a_failed_subtask_tells_its_own_cause() -> None:
    def outer(task: Task) -> None:
        task.run(failing)

    results = build_nornir(inventory(1)).run(outer)
    assert isinstance(cause_of(results["host00"]), UnreachableError)
    assert outcomes_of(results, "x")[0].status is Status.UNREACHABLE


def test_a_host_that_failed_is_not_left_out_of_the_next_task() -> None:
    nornir = build_nornir(inventory(9))
    nornir.run(failing)
    assert len(nornir.run(failing)) == 9
    assert len(nornir.filter(name="host00").run(failing)) == 1


def test_failures_put_nothing_on_stderr_and_no_log_in_the_directory(tmp_path: Path) -> None:
    code = """
        from tests.unit.runner.engine.test_runner_plugin import build_nornir, failing, inventory
        assert build_nornir(inventory(9)).run(failing).failed
    """
    root = places.ROOT
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_host_beyond_its_deadline_is_cut_off_and_the_others_go_on(
    meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labrun.runner.engine.runner_plugin._GRACE", 0.1)

    def one_hangs(task: Task, meter: Any) -> str:
        if task.host.name == "host00":
            held(task, meter)
        return "fine"

    started = time.monotonic()
    results = build_nornir(inventory(5), Budget(workers=1, deadline=0.3)).run(one_hangs, meter=meter)
    assert time.monotonic() - started < 60
    assert [results[host].failed for host in results] == [True, False, False, False, False]
    error = cause_of(results["host00"])
    assert isinstance(error, ConnectionLostError)
    assert str(error) == "host00: not finished after 0.3 s (--timeout allows more)"


def test_a_task_can_see_its_deadline() -> None:
    def left(task: Task) -> float:
        return pace().remaining()

    results = build_nornir(inventory(3), Budget(workers=1, deadline=60)).run(left)
    assert all(59 < results[host].result <= 60 for host in results)
    assert pace().remaining(5) == 5


def test_ctrl_c_starts_no_further_host_and_waits_for_those_at_work(meter: Meter) -> None:
    seen: list[bool] = []

    def note_stop(task: Task, meter: Any) -> None:
        meter.enter()
        seen.append(pace().stopping.wait(120))

    def press() -> None:
        meter.await_inside(2)
        interrupt()

    thread = in_background(press)
    with pytest.raises(Interrupted) as caught:
        build_nornir(inventory(20), Budget(workers=2)).run(note_stop, meter=meter)
    thread.join(60)
    partial = caught.value.partial
    assert isinstance(caught.value, KeyboardInterrupt)
    assert (meter.total, seen, len(partial)) == (2, [True, True], 20)
    assert [host for host in partial if not partial[host].failed] == ["host00", "host01"]
    errors = [cause_of(partial[f"host{n:02}"]) for n in range(2, 20)]
    assert all(isinstance(error, NotStartedError) for error in errors)
    assert str(errors[0]) == "host02: not started: interrupted before it started"


def test_a_second_ctrl_c_waits_for_nobody(meter: Meter) -> None:
    stopped = threading.Event()

    def deaf(task: Task, meter: Any) -> None:
        meter.enter()
        assert pace().stopping.wait(120)
        stopped.set()
        meter.open.wait(120)

    def press_twice() -> None:
        meter.await_inside(1)
        interrupt()
        assert stopped.wait(60)
        interrupt()

    thread = in_background(press_twice)
    with pytest.raises(Interrupted) as caught:
        build_nornir(inventory(3), Budget(workers=1)).run(deaf, meter=meter)
    thread.join(60)
    causes = [type(cause_of(caught.value.partial[host])) for host in caught.value.partial]
    assert causes == [ConnectionLostError, NotStartedError, NotStartedError]


def test_a_second_ctrl_c_in_the_middle_of_the_first_leaves_no_host_out(
    meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when the hosts that wait are off the agenda, and have no result yet."""
    drop = Agenda.drop

    def interrupted(agenda: Agenda) -> list[str]:
        names = list(drop(agenda))
        if names:
            raise KeyboardInterrupt
        return names

    def waits(task: Task, meter: Any) -> None:
        meter.enter()
        pace().stopping.wait(120)

    def press() -> None:
        meter.await_inside(1)
        interrupt()

    monkeypatch.setattr(Agenda, "drop", interrupted)
    thread = in_background(press)
    with pytest.raises(Interrupted) as caught:
        build_nornir(inventory(3), Budget(workers=1)).run(waits, meter=meter)
    thread.join(60)
    assert list(caught.value.partial) == ["host00", "host01", "host02"]


def test_a_run_that_only_reads_returns_what_it_has_at_the_first_signal(meter: Meter) -> None:
    interruption = Interruption()
    on_signal = OnSignal(interruption=interruption)

    def read(task: Task, meter: Any) -> str:
        if task.host.name == "host00":
            return "read"
        meter.enter()
        if task.host.name == "host01":
            # What is nearly done has a moment left.
            assert pace().stopping.wait(120)
            return "just so"
        meter.open.wait(120)
        return "late"

    def press() -> None:
        meter.await_inside(2)
        interrupt()

    thread = in_background(press)
    nornir = build_nornir(inventory(5), Budget(workers=2, on_signal=on_signal))
    began = time.monotonic()
    results = nornir.run(read, meter=meter)
    assert time.monotonic() - began < 60
    thread.join(60)
    assert interruption.came
    assert interruption.exit_code is None
    assert [results[host][0].result for host in ("host00", "host01")] == ["read", "just so"]
    causes = [cause_of(results[f"host{n:02}"]) for n in (2, 3, 4)]
    assert [type(cause) for cause in causes] == [ConnectionLostError, NotStartedError, NotStartedError]
    rows = outcomes_of(nornir.run(read, meter=meter), "read")
    assert {row.status for row in rows} == {Status.SKIPPED}, "after it nobody is asked any more"


def test_a_second_signal_while_reading_ends_at_once(meter: Meter) -> None:
    interruption = Interruption()

    def press_twice() -> None:
        meter.await_inside(1)
        interrupt()
        assert heard.wait(60)
        interrupt()

    heard = threading.Event()

    def deaf(task: Task, meter: Any) -> None:
        meter.enter()
        assert pace().stopping.wait(120)
        heard.set()
        meter.open.wait(120)

    thread = in_background(press_twice)
    with pytest.raises(Interrupted) as caught:
        build_nornir(inventory(2), Budget(workers=1, on_signal=OnSignal(interruption=interruption))).run(
            deaf, meter=meter
        )
    thread.join(60)
    assert not interruption.came
    assert len(caught.value.partial) == 2


@pytest.mark.parametrize(
    ("count", "deadline", "said"),
    [
        (1, 42, "waiting until host00 has confirmed or rolled back; at most (4[0-4]) s\n"),
        (2, None, "waiting until host00 and host01 have confirmed or rolled back\n"),
        (
            3,
            42,
            "waiting until host00, host01 and host02 have confirmed or rolled back; at most (4[0-4]) s\n",
        ),
        (6, 42, "waiting until 6 hosts have confirmed or rolled back; at most (4[0-4]) s\n"),
    ],
)
def test_it_is_said_who_is_waited_for_and_how_long_at_most(
    meter: Meter, capsys: pytest.CaptureFixture[str], count: int, deadline: float | None, said: str
) -> None:
    def changes(task: Task, meter: Any) -> None:
        meter.enter()
        assert pace().stopping.wait(120)
        meter.open.wait(120)

    def press() -> None:
        meter.await_inside(count)
        interrupt()
        until = time.monotonic() + 10
        while not (heard := capsys.readouterr().err) and time.monotonic() < until:
            time.sleep(0.02)
        told.append(heard)
        meter.open.set()

    told: list[str] = []
    thread = in_background(press)
    on_signal = OnSignal("confirmed or rolled back")
    with pytest.raises(Interrupted):
        build_nornir(inventory(count), Budget(deadline=deadline, on_signal=on_signal)).run(
            changes, meter=meter
        )
    thread.join(60)
    assert re.fullmatch(said, told[0]), told
    assert capsys.readouterr().err == "", "once"


def test_a_wait_that_has_become_longer_is_said_again(
    meter: Meter, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    said = [threading.Event(), threading.Event()]

    def goes_back(task: Task, meter: Any) -> None:
        meter.enter()
        assert said[0].wait(120)
        pace().extend(100)
        said[1].wait(120)

    def press() -> None:
        meter.await_inside(1)
        interrupt()
        until = time.monotonic() + 20
        while len(heard) < 2 and time.monotonic() < until:
            heard.extend(capsys.readouterr().err.splitlines())
            for event, _ in zip(said, heard, strict=False):
                event.set()
            time.sleep(0.02)

    thread = in_background(press)
    with pytest.raises(Interrupted):
        build_nornir(inventory(1), Budget(deadline=10)).run(goes_back, meter=meter)
    thread.join(30)
    first, again = heard
    assert re.fullmatch(r"waiting until host00 has finished; at most 1\d s", first)
    assert re.fullmatch(r"waiting until host00 has finished; at most 10\d s", again)


def test_a_canary_that_fails_keeps_all_others_from_beginning() -> None:
    rollout = Rollout(canary=1, max_fail=MaxFail(0))
    results = build_nornir(inventory(9), Budget(workers=4, rollout=rollout)).run(failing)
    rows = outcomes_of(results, "sysctl", "a.b")
    assert [(row.host, row.status.value) for row in rows] == [
        ("host00", "unreachable"),
        *((f"host{n:02}", "skipped") for n in range(1, 9)),
    ]
    assert {row.why for row in rows[1:]} == {"not started: 1 host failed, and --max-fail is 0"}
    assert exit_code(rows) == 4


def test_rows_that_failed_count_as_much_as_what_was_raised() -> None:
    def one_bad_row(task: Task) -> Result:
        status = Status.ROLLED_BACK if task.host.name == "host01" else Status.CHANGED
        return Result(task.host, result=[Outcome(task.host.name, "sysctl", "a.b", status)])

    rollout = Rollout(canary=1, max_fail=MaxFail(0))
    nornir = build_nornir(inventory(4), Budget(workers=1, rollout=rollout))
    rows = outcomes_of(nornir.run(one_bad_row), "sysctl")
    assert [row.status.value for row in rows] == ["changed", "rolled-back", "skipped", "skipped"]


def test_a_batch_begins_when_the_one_before_it_is_done(meter: Meter) -> None:
    seen: list[tuple[str, int]] = []

    def note(task: Task) -> None:
        seen.append((task.host.name, meter.inside))
        meter.enter()
        meter.leave()

    build_nornir(inventory(7), Budget(workers=7, rollout=Rollout(canary=1))).run(note)
    names = [name for name, _ in seen]
    assert names[0] == "host00"
    assert set(names[1:3]) == {"host01", "host02"}
    assert set(names[3:]) == {"host03", "host04", "host05", "host06"}


def test_two_of_one_redundancy_group_never_work_at_once_and_hold_up_nobody_else(meter: Meter) -> None:
    together: list[set[str]] = []
    inside: set[str] = set()

    def work(task: Task, meter: Any) -> None:
        with meter.lock:
            inside.add(task.host.name)
            together.append(set(inside))
        if task.host.name == "host00":
            # Everybody outside the group gets through while this one works.
            with meter.lock:
                assert meter.lock.wait_for(lambda: meter.total == 3, timeout=60)
        elif task.host.name in ("host02", "host03", "host05"):
            meter.enter()
        with meter.lock:
            inside.discard(task.host.name)

    pair = {"host00": "edge", "host01": "edge", "host04": "edge"}
    results = build_nornir(inventory(6), Budget(workers=6, rollout=Rollout(groups=pair))).run(
        work, meter=meter
    )
    assert not results.failed
    assert all(len(names & pair.keys()) <= 1 for names in together), together


def test_after_a_host_that_is_lost_its_redundancy_group_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, meter: Meter
) -> None:
    monkeypatch.setattr("labrun.runner.engine.runner_plugin._GRACE", 0.1)

    def first_hangs(task: Task, meter: Any) -> Result:
        if task.host.name == "host00":
            held(task, meter)
        return Result(task.host, result=[])

    pair = {"host00": "edge", "host02": "edge"}
    rollout = Rollout(groups=pair)
    nornir = build_nornir(inventory(4), Budget(workers=1, deadline=0.3, rollout=rollout))
    rows = outcomes_of(nornir.run(first_hangs, meter=meter), "sysctl")
    assert [(row.host, row.status.value) for row in rows] == [("host00", "unknown"), ("host02", "skipped")]
    assert rows[1].why == "not started: host00 of its redundancy group edge may still be changing"


def test_ctrl_c_in_the_first_batch_begins_no_other(meter: Meter) -> None:
    def wait_for_stop(task: Task, meter: Any) -> Result:
        meter.enter()
        assert pace().stopping.wait(120)
        return Result(task.host, result=[])

    def press() -> None:
        meter.await_inside(2)
        interrupt()

    thread = in_background(press)
    with pytest.raises(Interrupted) as caught:
        build_nornir(inventory(9), Budget(rollout=Rollout(canary=2))).run(wait_for_stop, meter=meter)
    thread.join(60)
    partial = caught.value.partial
    assert (meter.total, len(partial), list(partial)) == (2, 9, [f"host{n:02}" for n in range(9)])
    rows = outcomes_of(partial, "configure")
    assert [(row.host, row.status) for row in rows] == [(f"host{n:02}", Status.SKIPPED) for n in range(2, 9)]


def test_a_hanging_host_does_not_hold_up_the_end_of_the_process() -> None:
    code = """
        import time
        from nornir.core.task import Task
        from tests.unit.runner.engine.test_runner_plugin import Budget, build_nornir, inventory
        def hang(task: Task) -> None:
            time.sleep(600)
        print(build_nornir(inventory(2), Budget(deadline=0.1)).run(hang).failed)
    """
    root = places.ROOT
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=root,
        check=True,
        timeout=60,
    )
    assert done.stdout == "True\n"


def test_progress_hears_of_every_host(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=LOGGER_NAME):
        build_nornir(inventory(9), Budget(workers=4)).run(failing)
    told = [
        (vars(record)["host"], vars(record)["stage"])
        for record in caplog.records
        if record.name == LOGGER_NAME
    ]
    assert told[:5] == [(f"host{n:02}", "queued") for n in range(4, 9)]
    assert ("host00", "unreachable") in told
    assert ("host02", "unknown") in told
    assert ("host03", "failed") in told
    assert ("host08", "done") in told


def test_a_failed_subtask_is_told_by_its_own_reason(caplog: pytest.LogCaptureFixture) -> None:
    def inner(task: Task) -> Result:
        raise UnreachableError("no route to host", host=task.host.name)

    def outer(task: Task) -> Result:
        task.run(inner)
        return Result(host=task.host)

    with caplog.at_level(logging.INFO, logger=LOGGER_NAME):
        build_nornir(inventory(1), Budget(workers=1)).run(outer)
    told = [vars(record) for record in caplog.records if record.name == LOGGER_NAME]
    assert [(each["host"], each["stage"], each["detail"]) for each in told[-1:]] == [
        ("host00", "unreachable", "no route to host")
    ]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd"), MaxSessions="10") as server:
        yield server


def fleet(sshd: LoopbackSshd, count: int) -> Inventory:
    found = inventory(count)
    for host in found.hosts.values():
        host.port, host.username = sshd.port, sshd.user
        host.connection_options["labrun-ssh"] = ConnectionOptions(extras=sshd.extras())
    return found


def test_servers_that_say_nothing_hold_up_nobody_else(sshd: LoopbackSshd) -> None:
    """A stopped sshd still lets the kernel accept connections; as many of them as there are turns."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = fleet(sshd, 4)
        for name in ("host00", "host01"):
            hosts.hosts[name].port = silent.getsockname()[1]
            extras = {**sshd.extras(), "banner_timeout": 60.0}
            hosts.hosts[name].connection_options["labrun-ssh"] = ConnectionOptions(extras=extras)
        heard: list[str] = []

        def enter(task: Task) -> Result:
            try:
                transport_of(task.host).run("true", timeout=60)
            finally:
                heard.append(task.host.name)
            return Result(task.host, result=[])

        with closing_connections(hosts):
            results = build_nornir(hosts, Budget(connectors=2, deadline=8)).run(enter)
    assert set(heard[:2]) == {"host02", "host03"}
    assert [results[host].failed for host in results] == [True, True, False, False]
    why = [row.why for row in outcomes_of(results, "x") if row.host == "host00"]
    expected = (
        "accepted the connection but sent no SSH banner within 8 s:"
        " its sshd hangs, or something else listens there"
    )
    assert why == [f"connect: 127.0.0.1 port {hosts.hosts['host00'].port} {expected}"]


def ask(task: Task, script: str, timeout: float) -> str:
    return transport_of(task.host).run(script, timeout=timeout).stdout


def test_real_logins_in_parallel_are_closed_after_the_block(sshd: LoopbackSshd) -> None:
    hosts = fleet(sshd, 8)
    with closing_connections(hosts):
        results = build_nornir(hosts, Budget(workers=8, connectors=4)).run(
            ask, script="echo hello", timeout=60
        )
        opened = [transport_of(host).login for host in hosts.hosts.values()]
        assert all(login.is_alive() for login in opened)
    assert {results[host].result for host in results} == {"hello\n"}
    assert not any(login.is_alive() for login in opened)


def test_on_request_no_login_outlasts_its_host_s_task(sshd: LoopbackSshd) -> None:
    hosts = fleet(sshd, 6)
    alive: list[int] = []

    def count(task: Task) -> Result:
        transport_of(task.host).run("true", timeout=60)
        alive.append(sum(bool(host.connections) for host in hosts.hosts.values()))
        return Result(task.host)

    with closing_connections(hosts):
        nornir = build_nornir(hosts, Budget(workers=2, keeps_logins=False))
        nornir.run(count)
        assert max(alive) <= 2, "only those of the hosts in progress are open"
        assert not any(host.connections for host in hosts.hosts.values())
        assert {port_of(host) for host in hosts.hosts.values()} == {sshd.port}
        again = nornir.run(ask, script="echo again", timeout=60)
    assert {again[host].result for host in again} == {"again\n"}


def test_connections_are_closed_when_the_block_raises(sshd: LoopbackSshd) -> None:
    opened: list[SshLogin] = []

    def log_in_and_raise() -> None:
        hosts = fleet(sshd, 2)
        with closing_connections(hosts):
            build_nornir(hosts).run(ask, script="true", timeout=60)
            opened.extend(transport_of(host).login for host in hosts.hosts.values())
            raise RuntimeError("oops")

    with pytest.raises(RuntimeError, match=r"^oops$"):
        log_in_and_raise()
    assert [login.is_alive() for login in opened] == [False, False]


def test_a_script_beyond_the_hosts_deadline_says_so_itself(sshd: LoopbackSshd) -> None:
    hosts = fleet(sshd, 1)
    with closing_connections(hosts):
        results = build_nornir(hosts, Budget(deadline=1.5)).run(ask, script="sleep 30", timeout=60)
    error = cause_of(results["host00"])
    assert isinstance(error, ConnectionLostError)
    assert error.reason == "the script did not finish in time; it may still be running"
