"""What a command changed or would change, as lines: each change once, with its value before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from labrun.outcome import Outcome, Status
from labrun.runner.cli.terminal import Screen, printable
from labrun.runner.views.causes import changed_values
from labrun.runner.views.columns import cell_width, coloured, folded
from labrun.runner.views.status_look import look
from labrun.tasks.state.sections import section_of

__all__ = ["CHANGES", "change_lines"]

CHANGES = frozenset({Status.CHANGED, Status.WOULD_CHANGE})
"""Statuses of rows that are changes; the others that need attention are causes."""

_FEW = 3  # changes of a section on one host; more foldable ones are said as one
_MOST_LINES = 3  # of one change; -v shows it whole
_NAMED_HOSTS = 3
_WIDEST = (18, 12, 32)  # columns for the hosts, the section, the name
_INDENT = " " * 6


@dataclass(frozen=True, slots=True)
class _Change:
    hosts: tuple[str, ...]
    section: str
    name: str
    text: str
    status: Status


def change_lines(rows: Sequence[Outcome], screen: Screen, height: int, *, skipped: bool = False) -> list[str]:
    """Return the changes in at most ``height`` lines; those that do not fit are counted.

    ``skipped`` = also what was left alone, and why.
    """
    changed = [row for row in rows if row.status in CHANGES]
    left = [row for row in rows if skipped and row.status is Status.SKIPPED]
    changes = [*_across_hosts(_by_host(changed)), *_left(left)]
    if not changes:
        return []
    whos = [_who(change.hosts) for change in changes]
    widths = [
        max(cell_width(text) for text in column)
        for column in zip(
            *((who, each.section, printable(each.name)) for who, each in zip(whos, changes, strict=True)),
            strict=True,
        )
    ]
    widths = [min(width, most) for width, most in zip(widths, _WIDEST, strict=True)]
    blocks = [_lines(who, change, widths, screen) for who, change in zip(whos, changes, strict=True)]
    kept, used = 0, 0
    for block in blocks:
        if used + len(block) + (kept + 1 < len(blocks)) > height:
            break
        kept, used = kept + 1, used + len(block)
    lines = [line for block in blocks[:kept] for line in block]
    if kept < len(blocks):
        lines.append(coloured(f"and {len(blocks) - kept} more: -v lists every row", "dim", screen))
    return lines


def _by_host(rows: Sequence[Outcome]) -> Iterator[_Change]:
    by_section: dict[tuple[str, str, Status], list[Outcome]] = {}
    for row in rows:
        by_section.setdefault((row.host, row.section, row.status), []).append(row)
    for (host, section, status), members in by_section.items():
        if section_of(section).foldable and len(members) > _FEW:
            text = look(status).folded_value or status.value
            yield _Change((host,), section, f"{len(members)} settings", text, status)
            continue
        for row in members:
            name = "" if row.name in (row.host, row.section) else row.short_name
            yield _Change((host,), section, name, _text(row), status)


def _left(rows: Sequence[Outcome]) -> Iterator[_Change]:
    """Yield what was left alone, all things with the same reason as one."""
    by_reason: dict[str, list[Outcome]] = {}
    for row in rows:
        by_reason.setdefault(row.why or row.actual or "", []).append(row)
    for why, members in by_reason.items():
        hosts = tuple(dict.fromkeys(row.host for row in members))
        sections = list(dict.fromkeys(row.section for row in members))
        names = list(dict.fromkeys("" if row.name == row.host else row.short_name for row in members))
        section = sections[0] if len(sections) == 1 else f"{len(members)} rows"
        name = ", ".join(names) if len(sections) == 1 and len(names) <= _FEW else ""
        yield _Change(hosts, section, name, why, Status.SKIPPED)


def _text(row: Outcome) -> str:
    change = changed_values(row)
    parts = [f"{change[0]} -> {change[1]}" if change is not None else row.actual or row.expected or ""]
    parts += row.changes
    parts += [row.why] if row.why else []
    return "; ".join(filter(None, parts))


def _across_hosts(changes: Iterator[_Change]) -> Iterator[_Change]:
    """Yield the changes, the same one on several hosts once."""
    hosts: dict[tuple[str, str, str, Status], list[str]] = {}
    for each in changes:
        hosts.setdefault((each.section, each.name, each.text, each.status), []).extend(each.hosts)
    for (section, name, text, status), names in hosts.items():
        yield _Change(tuple(names), section, name, text, status)


def _who(hosts: Sequence[str]) -> str:
    # The column is as wide as its longest text: one host has nothing that could be left out.
    if len(hosts) == 1 or (len(hosts) <= _NAMED_HOSTS and len(", ".join(hosts)) <= _WIDEST[0]):
        return ", ".join(hosts)
    return f"{hosts[0]} and {len(hosts) - 1} more"


def _lines(who: str, change: _Change, widths: Sequence[int], screen: Screen) -> list[str]:
    """Return a change in one line if it fits, else with its text below."""
    seen = look(change.status)
    sign = coloured(seen.sign, seen.style, screen)
    left = f"{who:<{widths[0]}}  {change.section:<{widths[1]}}  {printable(change.name):<{widths[2]}}"
    text = printable(change.text).replace("\n", " ")
    if cell_width(left) + cell_width(text) + 4 <= screen.width:
        return [f"{sign} {left}  {text}".rstrip()]
    parts = folded(text, screen.width - len(_INDENT))
    if len(parts) > _MOST_LINES:
        parts = [*parts[: _MOST_LINES - 1], f"{parts[_MOST_LINES - 1][:-4]} ..."]
    return [f"{sign} {left.rstrip()}", *(f"{_INDENT}{part}" for part in parts)]
