"""Times: local and with their age for people, UTC for JSON documents."""

from __future__ import annotations

import time

__all__ = ["age", "clock", "dated", "distance", "stamp", "time_of_day", "told"]

_UNITS = (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def stamp(seconds: float) -> str:
    """Return a time (seconds since the epoch) for JSON: ``2026-11-20T16:00:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def told(seconds: float, now: float | None = None) -> str:
    """Return a time for people, local and with its age: ``14:03, 3 min ago``; with the date on other days."""
    now = time.time() if now is None else now
    return f"{_local(seconds, now, '%H:%M')}, {distance(seconds, now)}"


def distance(seconds: float, now: float) -> str:
    """Return how far away a time is: ``3 min ago``, ``in 59 min``."""
    away = int(now - seconds)
    return f"{age(away)} ago" if away >= 0 else f"in {age(-away)}"


def clock(seconds: float, now: float | None = None) -> str:
    """Return a local time to the second: ``14:03:11``; with the date on other days."""
    return _local(seconds, time.time() if now is None else now, "%H:%M:%S")


def time_of_day(seconds: float) -> str:
    """Return a local time to the second, never with its date: ``14:03:11``."""
    return clock(seconds, seconds)


def dated(seconds: float) -> str:
    """Return a local time for pages that are read later or elsewhere: ``2026-11-20 17:00 CET``."""
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(seconds))


def age(seconds: int) -> str:
    """Return a duration in its largest unit, rounded down: ``3 min``, ``2 d``."""
    name, size = next(unit for unit in _UNITS if seconds >= unit[1] or unit[1] == 1)
    return f"{max(seconds, 0) // size} {name}"


def _local(seconds: float, now: float, shape: str) -> str:
    at, today = time.localtime(seconds), time.localtime(now)
    same = at.tm_year == today.tm_year and at.tm_yday == today.tm_yday
    return time.strftime(shape if same else f"%Y-%m-%d {shape}", at)
