"""Points in time as people give them: how long ago, or a date."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from labrun.errors import UsageError
from labrun.inventory.duration import duration_seconds, is_duration

__all__ = ["moment"]


def moment(text: str, *, option: str, now: float | None = None) -> float:
    """Return seconds since the epoch for ``2h``, ``2d`` or an ISO date or time, UTC unless it says otherwise.

    Raises UsageError that names the option.
    """
    if is_duration(text):
        return (time.time() if now is None else now) - duration_seconds(text)
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f'"{text}" is no time', step=option, hint="2h, 2d or 2026-11-25T16:00, for instance"
        ) from None
