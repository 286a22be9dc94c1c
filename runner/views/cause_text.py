"""Causes as lines of a terminal: each once, with what follows from it and what mends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from labrun.outcome import Outcome, Pair, Status
from labrun.runner.cli.scene import Detail
from labrun.runner.cli.terminal import Screen, printable
from labrun.runner.views.causes import Cause
from labrun.runner.views.columns import coloured, folded
from labrun.runner.views.overview import PLURALS, column_of
from labrun.runner.views.status_look import look
from labrun.tasks.state.sections import Scope, section_of

__all__ = ["breaks", "by_hand", "cause_lines", "headline"]

_LABEL = 10
_INDENT = " " * 4
_NAMED_HOSTS, _NAMED_PATHS = 4, 2
_COMMANDS = 3  # lines by hand; more are better read where they belong

_BREAKS, _REMEDY, _MORE = range(3)

Details = Mapping[tuple[str, str, str], Sequence[Detail]]


@dataclass(frozen=True, slots=True)
class _Part:
    """Lines below a cause that are shown together or not at all, those of the lowest ``rank`` first."""

    rank: int
    lines: tuple[str, ...]


def headline(cause: Cause) -> str:
    """Return ``host00: net.ipv4.ip_forward is 0, expected 1``."""
    return f"{_hosts(cause.hosts)}: {cause.what}" if cause.hosts else cause.what


def _hosts(hosts: Sequence[str]) -> str:
    if len(hosts) <= _NAMED_HOSTS:
        return ", ".join(hosts)
    return f"{', '.join(hosts[: _NAMED_HOSTS - 1])} and {len(hosts) - _NAMED_HOSTS + 1} more hosts"


def breaks(cause: Cause) -> str:
    """Return what follows from a cause: ``8 paths; check no-telnet is unknown``; empty for nothing."""
    by_column: dict[str, list[Outcome]] = {}
    for row in cause.effects:
        by_column.setdefault(column_of(row), []).append(row)
    checks = by_column.pop("check", [])
    parts = []
    for column, rows in by_column.items():
        if column == "path" and len(rows) <= _NAMED_PATHS:
            parts += [f"path {row.name}" for row in rows]
        elif column == "path":
            parts.append(f"{len(rows)} paths{_between(rows)}")
        elif len(rows) == 1:
            parts.append(f"{rows[0].section} {rows[0].short_name} of {rows[0].host}")
        else:
            parts.append(f"{len(rows)} {PLURALS.get(column, column)}")
    listed = ", ".join(parts)
    if len(checks) > _NAMED_PATHS:
        checked = f"{len(checks)} checks"
    else:
        checked = ", ".join(f"check {row.name} is {row.status.value}" for row in checks)
    return "; ".join(filter(None, (listed, checked)))


def _between(rows: Sequence[Outcome]) -> str:
    """Return ``: a, b <-> c`` if the pairs are just those between two groups of few hosts."""
    to: dict[str, set[str]] = {}
    for row in rows:
        if isinstance(row.subject, Pair):
            to.setdefault(row.subject.source, set()).add(row.subject.target)
    groups: dict[frozenset[str], list[str]] = {}
    for source, targets in to.items():
        groups.setdefault(frozenset(targets), []).append(source)
    sides = list(groups.values())
    if len(sides) != 2 or set(map(frozenset, sides)) != set(groups) or len(to) > 2 * _NAMED_HOSTS:
        return ""
    return f": {', '.join(sides[0])} <-> {', '.join(sides[1])}"


def by_hand(cause: Cause) -> list[str]:
    """Return the lines to type, the first with where; or the command that prints them."""
    if cause.by_hand and len(cause.by_hand) <= _COMMANDS:
        where = f"on {cause.at}" if len(cause.hosts) == 1 else f"on each of the {len(cause.hosts)} hosts"
        first, *others = cause.by_hand
        return [f"sudo {first}   # {where}", *(f"sudo {line}" for line in others)]
    section = section_of(cause.rows[0].section) if cause.rows and cause.hosts else None
    if section is None or section.scope is not Scope.HOST or cause.status is Status.UNREACHABLE:
        return []
    return [f"labrun configure{cause.hosts_option} --dry-run --explain"]


def cause_lines(
    causes: Sequence[Cause], details: Details, screen: Screen, height: int, *, remedies: bool = True
) -> list[str]:
    """Return a heading and the causes, the worst at the end; what does not fit into ``height`` is counted.

    ``remedies`` = how to mend each, too.
    """
    if not causes:
        return []
    heads = [_head(cause, screen) for cause in causes]
    kept = len(causes)
    while kept > 1 and sum(map(len, heads[:kept])) + (kept < len(causes)) + 1 > height:
        kept -= 1
    room = height - 1 - sum(map(len, heads[:kept])) - (kept < len(causes))
    bodies = [_body(cause, details, screen, remedies=remedies) for cause in causes[:kept]]
    fitting = _fitting(bodies, room)
    count = len(causes)
    lines = [coloured(f"{count} cause{'' if count == 1 else 's'}", "bold", screen)]
    if kept < count:
        lines.append(coloured(f"the worst {kept} of them; -v lists every row", "dim", screen))
    blocks = [
        [*head, *chain.from_iterable(part.lines for part in body if part in fits)]
        for head, body, fits in zip(heads[:kept], bodies, fitting, strict=True)
    ]
    return [*lines, *chain.from_iterable(reversed(blocks))]


def _fitting(bodies: Sequence[Sequence[_Part]], room: int) -> list[list[_Part]]:
    """Return the parts of each cause that fit: first what all of them break, then how they are mended."""
    fitting: list[list[_Part]] = [[] for _ in bodies]
    for rank in (_BREAKS, _REMEDY, _MORE):
        for body, fits in zip(bodies, fitting, strict=True):
            for part in body:
                if part.rank == rank and len(part.lines) <= room:
                    fits.append(part)
                    room -= len(part.lines)
    return fitting


def _head(cause: Cause, screen: Screen) -> list[str]:
    seen = look(cause.status)
    first, *others = folded(printable(headline(cause)).replace("\n", " "), screen.width - 2)
    return [f"{coloured(seen.sign, seen.style, screen)} {first}", *(f"  {line}" for line in others)]


def _body(cause: Cause, details: Details, screen: Screen, *, remedies: bool) -> list[_Part]:
    width = screen.width - len(_INDENT) - _LABEL
    parts = [_part(_BREAKS, "breaks", folded(printable(breaks(cause)), width))] if cause.effects else []
    told = dict.fromkeys(
        detail for row in cause.rows for detail in details.get((row.host, row.section, row.name), ())
    )
    parts += [_part(_MORE, label, folded(printable(text), width)) for label, text in told]
    if remedies or cause.status is Status.UNREACHABLE:
        # In one piece, however long: they are meant to be copied.
        parts.append(_part(_REMEDY, "by hand", [printable(line) for line in by_hand(cause)]))
        parts.append(_part(_REMEDY, "labrun", [cause.labrun] if cause.labrun else []))
    return parts


def _part(rank: int, label: str, lines: Sequence[str]) -> _Part:
    indented = (
        f"{_INDENT}{label if number == 0 else '':<{_LABEL}}{line}".rstrip()
        for number, line in enumerate(lines)
    )
    return _Part(rank, tuple(indented))
