"""The results of the last drift run as a text file for Prometheus' node_exporter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from labrun.outcome import HYPERVISOR, Status
from labrun.runner.cli.outputs import write_output
from labrun.runner.views.status_look import LOOKS, look
from labrun.runner.watching.state import DriftRecord

__all__ = ["HOST_STATES", "METRICS", "render_metrics", "write_metrics"]

METRICS = {
    "labrun_last_run_timestamp_seconds": "When the last drift run ended.",
    "labrun_last_success_timestamp_seconds": "When a drift run last compared everything.",
    "labrun_run_success": "Whether the last drift run compared everything, whatever it found.",
    "labrun_run_exit_code": "The exit code of the last drift run.",
    "labrun_run_duration_seconds": "How long the last drift run took.",
    "labrun_run_skipped": "Whether a run was skipped since, because another labrun held the lock.",
    "labrun_drift_items": "Items that are pending, drifted or in conflict.",
    "labrun_hosts": "Hosts by their worst item.",
}
"""Every metric with its help text. All are gauges with the label ``lab``."""
HOST_STATES = tuple(dict.fromkeys(each.metric for each in LOOKS.values()))
"""The values of the label ``state`` of ``labrun_hosts``, worst first."""

_DRIFT = tuple(status for status in Status if status.code == 3)
_Labels = Mapping[str, str]


def render_metrics(lab: str, record: DriftRecord | None, *, skipped: bool = False) -> str:
    """Return the text; ``record`` is the last run that took place, None if there is none yet.

    ``skipped`` means that a later one was skipped. Samples have no timestamps: node_exporter does not
    accept them.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for name, labels, value in [("labrun_run_skipped", {}, float(skipped)), *_samples(record)]:
        if name not in gauges:
            gauges[name] = Gauge(name, METRICS[name], ("lab", *labels), registry=registry)
        gauges[name].labels(lab=lab, **labels).set(value)
    return generate_latest(registry).decode()


def _samples(record: DriftRecord | None) -> Iterator[tuple[str, _Labels, float]]:
    if record is None:
        return
    yield "labrun_last_run_timestamp_seconds", {}, record.ended
    if record.compared is not None:
        yield "labrun_last_success_timestamp_seconds", {}, record.compared
    yield "labrun_run_success", {}, float(record.is_complete)
    yield "labrun_run_exit_code", {}, record.exit_code
    yield "labrun_run_duration_seconds", {}, record.seconds
    for host, sections in record.counts.items():
        for section, counts in sections.items():
            number = sum(counts.get(status, 0) for status in _DRIFT)
            yield "labrun_drift_items", {"host": host, "section": section}, number
    states = Counter(_state(parts) for host, parts in record.counts.items() if host != HYPERVISOR)
    for state in HOST_STATES:
        yield "labrun_hosts", {"state": state}, states[state]


def _state(sections: Mapping[str, Mapping[Status, int]]) -> str:
    statuses = {status for counts in sections.values() for status in counts}
    present = {look(status).metric for status in statuses}
    return next((state for state in HOST_STATES if state in present), look(Status.OK).metric)


def write_metrics(path: Path, text: str) -> None:
    """Replace the file atomically, readable by all. Raises LabrunError."""
    write_output(path, text, mode=0o644, kind="the metrics ")
