"""Metrics as Prometheus reads them: the text goes through the parser of its own client library."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from labrun.errors import LabrunError
from labrun.outcome import HYPERVISOR, Status
from labrun.runner.watching.metrics import HOST_STATES, METRICS, render_metrics, write_metrics
from labrun.runner.watching.state import DriftRecord

RECORD = DriftRecord(
    "R",
    ended=1_800_000_000.25,
    seconds=3.5,
    exit_code=4,
    compared=1_799_999_000.0,
    counts={
        HYPERVISOR: {"network": {Status.DRIFTED: 1, Status.OK: 2}},
        "gate": {"sysctl": {Status.DRIFTED: 1, Status.PENDING: 1, Status.CONFLICT: 1, Status.OK: 7}},
        "one": {"sysctl": {Status.OK: 3, Status.SKIPPED: 1}, "path": {Status.WARNING: 1}},
        "two": {"sysctl": {Status.UNREACHABLE: 3}},
    },
)


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by name and labels but ``lab``; each metric is a gauge with help."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert (family.type, family.documentation) == ("gauge", METRICS[family.name])
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("lab") == "demo"
            assert sample.timestamp is None
            key = (sample.name, frozenset(labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def of(name: str, found: dict[tuple[str, frozenset[tuple[str, str]]], float], **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_a_run_is_told_in_full() -> None:
    found = samples(render_metrics("demo", RECORD))
    assert of("labrun_last_run_timestamp_seconds", found) == 1_800_000_000.25
    assert of("labrun_last_success_timestamp_seconds", found) == 1_799_999_000.0
    assert of("labrun_run_success", found) == 0
    assert of("labrun_run_exit_code", found) == 4
    assert of("labrun_run_duration_seconds", found) == 3.5
    assert of("labrun_run_skipped", found) == 0
    assert of("labrun_drift_items", found, host=HYPERVISOR, section="network") == 1
    assert of("labrun_drift_items", found, host="gate", section="sysctl") == 3
    assert of("labrun_drift_items", found, host="one", section="sysctl") == 0
    assert of("labrun_drift_items", found, host="one", section="path") == 0
    states = {state: of("labrun_hosts", found, state=state) for state in HOST_STATES}
    assert states == {
        "failed": 0,
        "unreachable": 1,
        "unknown": 0,
        "conflict": 1,
        "drifted": 0,
        "pending": 0,
        "ok": 1,
    }
    assert {name for name, _ in found} == set(METRICS)


def test_a_run_that_found_drift_is_a_success() -> None:
    record = DriftRecord("R", 1.0, 1.0, 3, 1.0)
    assert of("labrun_run_success", samples(render_metrics("demo", record))) == 1


def test_before_the_first_run_there_is_nothing_but_that_it_was_left_out() -> None:
    found = samples(render_metrics("demo", None, skipped=True))
    assert found == {("labrun_run_skipped", frozenset()): 1.0}


def test_any_text_is_a_label() -> None:
    odd = 'a"b\\c\nd{}=,é'
    record = DriftRecord("R", 1.0, 1.0, 0, 1.0, {odd: {odd: {Status.OK: 1}}})
    assert of("labrun_drift_items", samples(render_metrics("demo", record)), host=odd, section=odd) == 0


def test_the_file_is_replaced_in_one_step_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "labrun.prom"
    write_metrics(path, "old\n")
    with path.open() as before:
        write_metrics(path, "new\n")
        assert before.read() == "old\n", "who had it open reads all of the old one"
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "labrun.prom"
    with pytest.raises(LabrunError) as caught:
        write_metrics(path, "")
    assert caught.value.reason == f"cannot write the metrics {path}: No such file or directory"
    (tmp_path / "directory").mkdir()
    with pytest.raises(LabrunError):
        write_metrics(tmp_path / "directory", "")
    assert list(tmp_path.iterdir()) == [tmp_path / "directory"], "nothing half written is left"
