"""What a drift run tells the journal: one entry for the run, one for each verdict that changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labrun.outcome import Outcome
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report, reason_of
from labrun.runner.views.table import summary
from labrun.runner.watching.journal import ERROR, INFO, NOTICE, WARNING
from labrun.runner.watching.last_drift import Change, Key

__all__ = ["entries"]

_PRIORITIES = {0: INFO, 3: WARNING}


def entries(
    report: Report, invocation: Invocation, lab: str, changes: Sequence[Change]
) -> Iterator[dict[str, str | int]]:
    """Yield the fields of each entry; those of the lab and the run are in all of them."""
    shared: dict[str, str | int] = {"LABRUN_LAB": lab, "LABRUN_RUN": invocation.run}
    rows = {(row.host, row.section, row.name): row for row in report.outcomes}
    for change in changes:
        yield {**shared, **_of_change(lab, change, rows.get(change.key))}
    if report.error is not None:
        said = reason_of(report.error)
    else:
        said = summary(report.outcomes, invocation.seconds)
    yield {
        "MESSAGE": f"{lab}: {said}",
        "PRIORITY": _PRIORITIES.get(report.exit_code, ERROR),
        **shared,
        "LABRUN_EXIT_CODE": report.exit_code,
    }


def _of_change(lab: str, change: Change, row: Outcome | None) -> dict[str, str | int]:
    host, section, name = change.key
    fields: dict[str, str | int] = {
        "MESSAGE": f"{lab}: {_what(change.key)}: {change.after or 'ok'}{_seen(row)}",
        "PRIORITY": WARNING if change.after is not None else NOTICE,
        "LABRUN_HOST": host,
        "LABRUN_SECTION": section,
        "LABRUN_NAME": name,
        "LABRUN_STATUS": change.after or "ok",
    }
    return {**fields, "LABRUN_BEFORE": change.before or "ok"}


def _what(key: Key) -> str:
    host, section, name = key
    return f"{host}: {section} {name}" if name not in (section, host) else f"{host}: {section}"


def _seen(row: Outcome | None) -> str:
    if row is None or row.expected is None:
        return ""
    return f" (expected {row.expected}, got {row.actual})"
