"""Durations in the usual short form: ``30s``, ``15m``, ``1h30m``, ``7d``."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["duration_seconds", "is_duration"]

_SECONDS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_LONGEST: Final = 100 * 366 * 86400
_SHAPE = re.compile("([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?")


def is_duration(text: str) -> bool:
    """Tell whether the text is a duration between one second and a hundred years."""
    return bool(_SHAPE.fullmatch(text)) and 0 < _sum(text) <= _LONGEST


def duration_seconds(text: str) -> int:
    """Return the duration in seconds. Raises ValueError if the text is not a duration."""
    if not is_duration(text):
        raise ValueError(f"{text!r} is not a valid duration")
    return _sum(text)


def _sum(text: str) -> int:
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall("([0-9]+)([dhms])", text))
