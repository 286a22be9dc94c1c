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
        host: found
        for host, capture in captures.items()
        if isinstance(capture, Capture) and (found := standing(capture.facts)) is not None
    }
    told: set[str] = set()
    judged = []
    for row in rows:
        found = held.get(row.host)
        if found is not None and row.host not in told:
            told.add(row.host)
            judged.append(_guard(row.host, found))
        if found is not None and row.status is Status.OK:
            row = replace(row, status=Status.UNKNOWN, why=found.borrowed)
        judged.append(row)
    return judged


def _guard(host: str, found: Standing) -> Outcome:
    why = found.borrowed
    if found.is_left_over:
        why = f"run {found.run} died and left a change unconfirmed: `labrun configure` rolls it back first"
    return Outcome(host, "guard", found.run or "unknown", Status.UNKNOWN, why=why)
