"""Turn what a user's Nornir task returned into rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nornir.core.task import AggregatedResult, MultiResult

from labrun.outcome import Outcome, Status
from labrun.runner.engine.nornir import row_of_error
from labrun.runner.engine.results import cause_of

__all__ = ["rows_of"]

_LONGEST = 256 * 1024  # characters of one result that are kept


def rows_of(
    aggregated: AggregatedResult, name: str, seconds: dict[str, float], *, dry_run: bool
) -> list[Outcome]:
    """Return a row for each host, in host order: section ``task``, ``name`` the task's.

    A change of a dry run is one that would be made. An exception is a failed row with its words, and one
    of labrun's own connection what it is everywhere: unreachable, unknown.
    """
    return [
        _row(host, results, name, seconds.get(host, 0.0), dry_run=dry_run)
        for host, results in aggregated.items()
    ]


def _row(host: str, results: MultiResult, name: str, seconds: float, *, dry_run: bool) -> Outcome:
    error = cause_of(results)
    if error is not None:
        failed = row_of_error(host, "task", name, error)
        return Outcome(host, "task", name, failed.status, why=failed.why, seconds=seconds)
    text = _text(results)
    diff = "\n".join(each.diff for each in results if each.diff) or None
    if any(each.failed for each in results):
        return Outcome(
            host,
            "task",
            name,
            Status.FAILED,
            why=text or "the task says that it failed",
            diff=diff,
            seconds=seconds,
        )
    status = Status.OK
    if any(each.changed for each in results):
        status = Status.WOULD_CHANGE if dry_run else Status.CHANGED
    return Outcome(host, "task", name, status, actual=text or None, diff=diff, seconds=seconds)


def _text(results: MultiResult) -> str:
    """Return what the task returned, be it empty; if it returned nothing, what its subtasks did."""
    if results[0].result is not None or len(results) == 1:
        return _said(results[0].result)
    return "\n".join(_named(results))


def _named(results: MultiResult) -> Iterator[str]:
    # Nornir puts the results of a subtask's own subtasks beside it.
    told = [(each, _said(each.result)) for each in results[1:]]
    for each, text in told:
        if text:
            yield text if len(told) == 1 else f"{each.name}: {text}"


def _said(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, default=str, ensure_ascii=False)
        except (TypeError, ValueError):
            text = str(value)
    return text[:_LONGEST].strip("\n")
