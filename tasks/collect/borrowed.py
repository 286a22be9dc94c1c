"""State seen while a change awaits confirmation: it may last only until the host rolls back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from labrun.outcome import Outcome, Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.guest.facts.guard import Standing, standing

__all__ = ["on_borrowed_time"]


def on_borrowed_time(rows: Iterable[Outcome], captures: Mapping[str, Capture | Unreachable]) -> list[Outcome]:
    """Return the rows, with ok ones `unknown` on hosts whose change may still be rolled back.

    Each such host gets a row `guard` before its other rows.
    """
    held = {
        host: guard
        for host, capture in captures.items()
        if isinstance(capture, Capture) and (guard := standing(capture.facts)) is not None
    }
    explained: set[str] = set()
    judged = []
    for row in rows:
        guard = held.get(row.host)
        if guard is not None and row.host not in explained:
            explained.add(row.host)
            judged.append(_guard(row.host, guard))
        if guard is not None and row.status is Status.OK:
            row = replace(row, status=Status.UNKNOWN, why=guard.borrowed)
        judged.append(row)
    return judged


def _guard(host: str, guard: Standing) -> Outcome:
    why = guard.borrowed
    if guard.is_left_over:
        why = f"run {guard.run} died and left a change unconfirmed: `labrun configure` rolls it back first"
    return Outcome(host, "guard", guard.run or "unknown", Status.UNKNOWN, why=why)
