"""What the history knows of items that are not as declared: when they last were, and how often they moved."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from labrun.errors import LabrunError
from labrun.moments import clock, stamp
from labrun.outcome import Outcome, Status
from labrun.runner.cli.terminal import say

if TYPE_CHECKING:
    from labrun.json_values import JsonObject
    from labrun.runner.engine.session import Session

__all__ = [
    "Earlier",
    "Moved",
    "earlier_of",
    "how_long",
    "last_lines",
    "moved_json",
    "moved_lines",
    "moves_in",
]

Item = tuple[str, str, str]
"""Host, section and name of a row."""

_RIGHT = frozenset({"ok", "changed"})
_WRONG = frozenset({"drifted", "conflict"})
_FEWEST, _RUNS, _MOST_ITEMS = 2, 400, 50


@dataclass(frozen=True, slots=True)
class Moved:
    """How often something was right and then drifted, this time included, and when it first had."""

    times: int
    since: float


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the history has of these items; times in seconds since the epoch."""

    last_ok: Mapping[Item, float] = field(default_factory=lambda: MappingProxyType({}))
    moved: Mapping[Item, Moved] = field(default_factory=lambda: MappingProxyType({}))


def earlier_of(session: Session, rows: Sequence[Outcome]) -> Earlier:
    """Return what the history has of the rows that are not ok; nothing, after a message, if it is damaged."""
    # An unreachable host was not compared, so a date for its items would mean nothing.
    compared = [row for row in rows if row.exit_code and row.status is not Status.UNREACHABLE]
    history = session.history() if compared else None
    if history is None:
        return Earlier()
    try:
        known = history.last_ok()
        items = {_item(row) for row in compared}
        drifted = [_item(row) for row in compared if row.status.value in _WRONG]
        moved = {
            item: found
            for item in drifted[:_MOST_ITEMS]
            if item in known and (found := moves_in(history.statuses(item, _RUNS), time.time())) is not None
        }
    except LabrunError as error:
        say(error.reason)
        return Earlier()
    finally:
        history.close()
    return Earlier({item: at for item, at in known.items() if item in items}, moved)


def _item(row: Outcome) -> Item:
    return row.host, row.section, row.name


def moves_in(statuses: Sequence[tuple[str, float]], now: float) -> Moved | None:
    """Return how often something that has drifted now had been right before; None for the first time.

    ``statuses`` are the earlier ones, newest first, each with its time; those that say nothing of the host
    are left out.
    """
    moves = []
    later, when = "drifted", now
    for status, at in statuses:
        if status in _RIGHT and later in _WRONG:
            moves.append(when)
        if status in _RIGHT or status in _WRONG:
            later, when = status, at
    return Moved(len(moves), moves[-1]) if len(moves) >= _FEWEST else None


def last_lines(last_ok: Mapping[Item, float]) -> Iterator[str]:
    """Yield a line per host and time, with the items that were last as declared then."""
    times: dict[tuple[str, float], list[str]] = {}
    for item, at in last_ok.items():
        times.setdefault((item[0], at), []).append(_named(item))
    for (host, at), names in times.items():
        yield f"{host}: last as declared at {clock(at)}: {', '.join(names)}"


def moved_lines(moved: Mapping[Item, Moved]) -> Iterator[str]:
    """Yield a line for each item that does not stay as it is put."""
    for item, found in moved.items():
        yield (
            f"{item[0]}: {_named(item)} has drifted {found.times} times"
            f" since {clock(found.since)}, and was put right"
            " in between: something there, such as a timer or another tool, sets it again"
        )


def moved_json(moved: Mapping[Item, Moved]) -> list[JsonObject]:
    """Return them as they appear in the JSON document."""
    return [
        {"host": host, "section": section, "name": name, "times": found.times, "since": stamp(found.since)}
        for (host, section, name), found in moved.items()
    ]


def _named(item: Item) -> str:
    host, section, name = item
    return section if name == host else f"{section} {name}"


_UNITS = (("year", 365 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def how_long(seconds: int) -> str:
    """Return a duration in its largest unit, rounded down: ``3 years``."""
    name, size = next(unit for unit in _UNITS if seconds >= unit[1] or unit[1] == 1)
    count = seconds // size
    return f"{count} {name}{'' if count == 1 else 's'}"
