"""What is kept of a drift run, and what has changed since."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from labrun.errors import HypervisorError
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.watching.state import (
    RUN,
    Change,
    DriftRecord,
    changes_between,
    drift_memory,
    read_last_drift,
    record_of,
    remember_drift,
)

NOW = 1_800_000_000.0


def row(host: str, section: str, name: str, status: Status) -> Outcome:
    return Outcome(host, section, name, status)


ROWS = [
    row("gate", "sysctl", "net.ipv4.ip_forward", Status.DRIFTED),
    row("gate", "sysctl", "net.ipv4.tcp_syncookies", Status.OK),
    row("one", "nmcli", "left", Status.UNREACHABLE),
]


def recorded(report: Report, before: DriftRecord | None = None) -> DriftRecord:
    return record_of(report, Invocation("drift", run="R"), before, ["gate", "one"], NOW)


def test_counts_and_what_is_not_as_declared_are_kept() -> None:
    record = recorded(Report("demo", ROWS))
    assert record.counts == {
        "gate": {"sysctl": {Status.DRIFTED: 1, Status.OK: 1}},
        "one": {"nmcli": {Status.UNREACHABLE: 1}},
    }
    assert record.verdicts == {
        ("gate", "sysctl", "net.ipv4.ip_forward"): Status.DRIFTED,
        ("one", "nmcli", "left"): Status.UNREACHABLE,
    }
    assert (record.run, record.exit_code, record.ended) == ("R", 4, NOW)
    assert (record.is_complete, record.compared) == (False, None)


def test_drift_is_a_complete_run() -> None:
    record = recorded(Report("demo", ROWS[:2]))
    assert (record.exit_code, record.is_complete, record.compared) == (3, True, NOW)


def test_hosts_that_were_not_asked_stay_and_those_of_no_lab_go() -> None:
    old = row("gone", "sysctl", "x", Status.DRIFTED)
    before = recorded(Report("demo", [*ROWS, old, row(HYPERVISOR, "network", "left", Status.DRIFTED)]))
    record = recorded(Report("demo", [row("gate", "sysctl", "net.ipv4.ip_forward", Status.OK)]), before)
    assert record.counts == {
        "gate": {"sysctl": {Status.OK: 1}},
        "one": {"nmcli": {Status.UNREACHABLE: 1}},
    }
    assert record.verdicts == {("one", "nmcli", "left"): Status.UNREACHABLE}


def test_a_run_that_could_not_be_keeps_what_was_known() -> None:
    before = recorded(Report("demo", ROWS[:2]))
    record = recorded(Report("demo", error=HypervisorError("gone")), before)
    assert record.counts == before.counts
    assert record.verdicts == {**before.verdicts, RUN: Status.FAILED}
    assert (record.exit_code, record.is_complete, record.compared) == (5, False, NOW)
    again = recorded(Report("demo", ROWS[:2]), record)
    assert again.verdicts == before.verdicts


def test_changes_are_what_is_new_what_is_other_and_what_is_over() -> None:
    a, b, c, d = (("h", "s", name) for name in "abcd")
    before = {a: Status.DRIFTED, b: Status.DRIFTED, c: Status.PENDING}
    after = {a: Status.DRIFTED, b: Status.CONFLICT, d: Status.UNKNOWN}
    assert changes_between(before, after) == (
        Change(b, Status.DRIFTED, Status.CONFLICT),
        Change(d, None, Status.UNKNOWN),
        Change(c, Status.PENDING, None),
    )
    assert changes_between(after, after) == ()
    assert Change(c, Status.PENDING, None).as_json() == {
        "host": "h",
        "section": "s",
        "name": "c",
        "before": "pending",
        "after": None,
    }


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = drift_memory(Invocation("drift", state_dir=tmp_path), "demo").last
    assert read_last_drift(path) is None
    record = recorded(Report("demo", ROWS))
    remember_drift(path, record)
    found = read_last_drift(path)
    assert found is not None
    assert (found.counts, found.verdicts, found.ended) == (record.counts, record.verdicts, NOW)
    assert (found.run, found.exit_code, found.compared) == ("R", 4, None)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "run": 1}', "\udcff"])
def test_a_file_that_is_not_labruns_is_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "demo.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_last_drift(path) is None
