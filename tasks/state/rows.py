"""From an item to a row: the same for what `plan`, `up`, `configure`, `verify` and `drift` show."""

from __future__ import annotations

from labrun.outcome import Outcome, Status
from labrun.tasks.state.item import Item

__all__ = ["row_of", "standing"]


def standing(item: Item) -> tuple[Status, str | None]:
    """Return status and reason of a thing that was read and not touched."""
    if item.state == "skipped":
        return Status.SKIPPED, item.why
    if item.state == "ok":
        return Status.OK, None
    if item.state == "left":
        return Status.WARNING, item.why
    return Status.FAILED, item.why


def row_of(
    host: str,
    section: str,
    item: Item,
    status: Status,
    why: str | None = None,
    *,
    diff: str | None = None,
    seconds: float = 0.0,
) -> Outcome:
    """Return the row of an item; ``diff`` of an earlier item stands in for its own."""
    return Outcome(
        host,
        section,
        item.name,
        status,
        item.expected,
        item.actual,
        why,
        diff or item.diff,
        seconds=seconds,
        by_hand=item.by_hand,
    )
