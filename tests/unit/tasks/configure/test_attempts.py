"""A run begins on a host once: the shell's side, in a real shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.errors import WorkerLostError
from labrun.outcome import Outcome, Status
from labrun.runner.engine.nornir import row_of_error
from labrun.runner.engine.results import read_since
from labrun.tasks.configure.converge import BEGUN, HostRun
from labrun.tasks.guest.shell import Facts, apply_script, parse_facts

RUN = "2026-11-20T16:00:00Z-3f2a"


def attempt(begun: Path, name: str, *, run: str = RUN) -> Facts:
    begin = HostRun("web", {}, run=run, attempt=name).begin().replace(BEGUN, str(begun))
    script = apply_script([("packages", f"echo start >>{begun.parent}/starts")], "m4rk", first=begin)
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return parse_facts(done.stdout, "m4rk")


def starts(begun: Path) -> int:
    path = begun.parent / "starts"
    return path.read_text("utf-8").count("start") if path.exists() else 0


def test_a_second_attempt_of_a_run_changes_nothing(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    first, second = attempt(begun, "1 of worker a"), attempt(begun, "1 of worker b")
    assert first.word("attempt-taken") is None
    assert second.word("attempt-taken") == "1 of worker a"
    assert "packages" not in second.commands
    assert starts(begun) == 1


def test_of_many_attempts_at_once_one_begins(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begin = HostRun("web", {}, run=RUN, attempt="1").begin().replace(BEGUN, str(begun))
    script = apply_script([("packages", f"echo start >>{tmp_path}/starts")], "m4rk", first=begin)
    running = [subprocess.Popen(["sh", "-c", script], stdout=subprocess.DEVNULL) for _ in range(20)]
    assert [each.wait(60) for each in running] == [0] * 20
    assert starts(begun) == 1


def test_another_run_begins(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    attempt(begun, "1")
    assert attempt(begun, "1", run="2026-11-20T16:00:01Z-0000").word("attempt-taken") is None
    assert starts(begun) == 2


def test_the_latest_twenty_runs_are_kept(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    runs = [f"2026-11-20T16:00:{second:02}Z-3f2a" for second in range(25)]
    for run in runs:
        attempt(begun, "1", run=run)
    assert sorted(path.name for path in begun.iterdir()) == runs[-20:]
    assert attempt(begun, "1", run=runs[-20]).word("attempt-taken") == "1"


def test_a_run_begins_where_no_record_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "begun").write_text("a file in its place", encoding="utf-8")
    assert attempt(tmp_path / "begun", "1").word("attempt-taken") is None
    assert starts(tmp_path / "begun") == 1


def test_without_a_run_nothing_is_recorded() -> None:
    assert HostRun("web", {}).begin() == ""


@pytest.mark.parametrize(
    ("status", "why", "expected"),
    [
        (Status.OK, None, "the worker was lost; as declared now"),
        (Status.WOULD_CHANGE, None, "the worker was lost; not as declared now"),
        (Status.UNKNOWN, "run X has 9 s left", "the worker was lost; run X has 9 s left"),
        (Status.FAILED, None, "the worker was lost; failed"),
    ],
)
def test_what_is_read_after_a_loss_stays_unknown(status: Status, why: str | None, expected: str) -> None:
    row = read_since(Outcome("web", "sysctl", "net.ipv4.ip_forward", status, why=why))
    assert (row.status, row.why) == (Status.UNKNOWN, expected)


def test_what_was_not_asked_stays_so() -> None:
    row = Outcome("web", "sysctl", "net.ipv4.ip_forward", Status.SKIPPED, why="it has none")
    assert read_since(row) == row


def test_a_lost_worker_is_unknown() -> None:
    row = row_of_error("web", "sysctl", "x", WorkerLostError("the worker was lost", host="web"))
    assert (row.status, row.why, row.exit_code) == (Status.UNKNOWN, "the worker was lost", 4)
