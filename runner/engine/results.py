"""How one host's task ended: the exception, whether it succeeded, whether that is certain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from nornir.core.exceptions import NornirSubTaskError

from labrun.errors import ConnectionLostError, LabrunError, TransportError, WorkerLostError
from labrun.outcome import Outcome, Status

if TYPE_CHECKING:
    from nornir.core.task import AggregatedResult, MultiResult

__all__ = [
    "NotStartedError",
    "cause_of",
    "ended_well",
    "ending_of",
    "is_known",
    "lost_hosts",
    "read_since",
    "results_of",
]

T = TypeVar("T")

_BAD = frozenset(status for status in Status if status.code in (1, 4))


class NotStartedError(LabrunError):
    """Mark a host that never began: interrupted before its turn, or held back."""


def cause_of(results: MultiResult) -> BaseException | None:
    """Return the exception of a host's task, for a failed subtask that of the subtask; None on success."""
    error: BaseException | None = results[0].exception
    while isinstance(error, NornirSubTaskError) and error.result:
        error = error.result[0].exception or LabrunError("a part of it failed")
    return error


def results_of(aggregated: AggregatedResult, kind: type[T]) -> dict[str, T | BaseException]:
    """Return each host's result or exception. Raises TypeError for a result that is not of this type."""
    by_host: dict[str, T | BaseException] = {}
    for host, results in aggregated.items():
        value = cause_of(results) or results[0].result
        if not isinstance(value, kind | BaseException):
            raise TypeError(f"the task on {host} returned {type(value).__name__}, not {kind.__name__}")
        by_host[host] = value
    return by_host


def lost_hosts(aggregated: AggregatedResult) -> frozenset[str]:
    """Return the hosts whose worker was lost while it worked on them."""
    return frozenset(
        host for host, results in aggregated.items() if isinstance(cause_of(results), WorkerLostError)
    )


def read_since(row: Outcome) -> Outcome:
    """Return the row of a host whose worker was lost as it changed it, from the row that was read since."""
    found = {Status.OK: "as declared now", Status.WOULD_CHANGE: "not as declared now"}.get(row.status)
    if found is None and row.exit_code == 0:
        return row
    return replace(
        row, status=Status.UNKNOWN, why=f"the worker was lost; {found or row.why or row.status.value}"
    )


def _statuses(results: MultiResult) -> frozenset[Status]:
    rows = results[0].result
    rows = rows if isinstance(rows, list | tuple) else [rows]
    return frozenset(row.status for row in rows if isinstance(row, Outcome))


def ended_well(results: MultiResult) -> bool:
    """Return whether the task raised nothing and has no bad row."""
    return not results[0].failed and not _statuses(results) & _BAD


def ending_of(results: MultiResult) -> tuple[str, str]:
    """Return the stage of progress in which a host has ended, and why, '' if it raised nothing."""
    error = cause_of(results)
    why = "" if error is None else str(getattr(error, "reason", error))
    if isinstance(error, ConnectionLostError):
        return "unknown", why
    if isinstance(error, TransportError):
        return "unreachable", why
    if isinstance(error, NotStartedError):
        return "skipped", why
    return "done" if ended_well(results) else "failed", why


def is_known(results: MultiResult) -> bool:
    """Return whether the host is certainly not working any more: not cut off midway, no row ``unknown``."""
    return not isinstance(cause_of(results), ConnectionLostError) and Status.UNKNOWN not in _statuses(results)
