"""Hosts by section as lines of text. On a small screen the worst stay visible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labrun.outcome import Outcome, Status
from labrun.runner.views.status_look import LOOKS, look

__all__ = ["Parts", "grid_lines"]

Parts = list[str | tuple[str, str]]
"""Parts of a line, each with or without a style."""
_BAD = tuple(each for each in LOOKS.values() if not each.is_good)

_GAP = 2
_CLOCK = len("00:00:00")
_NARROWEST = 3  # columns for a section
_Cell = tuple[str, str]
_Cells = Mapping[tuple[str, str], _Cell]


def grid_lines(rows: Sequence[Outcome], changed: Mapping[str, str], width: int, height: int) -> list[Parts]:
    """Return a heading, one line per host, and a note on hidden hosts and sections, for this screen size.

    ``changed`` is, by host, the time of its last change. A cell is ``ok``, ``-`` if everything was skipped,
    or the number of items in its worst state.
    """
    hosts = list(dict.fromkeys(row.host for row in rows))
    if not hosts:
        return []
    cells = _cells(rows)
    name = min(max(len(host) for host in (*hosts, "host")), max(width // 4, 8))
    columns, gap = _columns(
        list(dict.fromkeys(row.section for row in rows)), cells, width - name - _GAP - _CLOCK
    )
    sections = len({row.section for row in rows}) - len(columns)
    shown = _worst(hosts, cells, height - 1 - bool(sections)) if len(hosts) >= height else hosts
    hidden = len(hosts) - len(shown)
    titles = "".join(" " * gap + title.ljust(wide) for _, title, wide in columns)
    lines: list[Parts] = [[("host".ljust(name) + titles + " " * _GAP + "changed", "bold")]]
    for host in shown:
        line: Parts = [_cut(host, name)]
        for section, _, wide in columns:
            text, style = cells.get((host, section), ("", ""))
            line += [" " * gap, (_cut(text, wide), style)]
        lines.append([*line, " " * _GAP, changed.get(host, "")])
    if hidden or sections:
        notes = [f"{number} {what}" for number, what in ((hidden, "hosts"), (sections, "sections")) if number]
        lines.append([(f"{' and '.join(notes)} not shown", "dim")])
    return lines[:height]


def _cells(rows: Sequence[Outcome]) -> dict[tuple[str, str], _Cell]:
    statuses_of: dict[tuple[str, str], list[Status]] = {}
    for row in rows:
        statuses_of.setdefault((row.host, row.section), []).append(row.status)
    return {key: _cell(statuses) for key, statuses in statuses_of.items()}


def _cell(statuses: Sequence[Status]) -> _Cell:
    for status_look in _BAD:
        if number := statuses.count(status_look.status):
            return f"{number}{status_look.sign}", status_look.bright
    skipped = all(status is Status.SKIPPED for status in statuses)
    return ("-" if skipped else "ok", look(Status.SKIPPED if skipped else Status.OK).style)


def _columns(sections: Sequence[str], cells: _Cells, room: int) -> tuple[list[tuple[str, str, int]], int]:
    """Return (section, heading, width) of the columns that fit, and the gap before each."""
    wide = {
        section: max(
            len(section), *(len(text) for (_, where), (text, _) in cells.items() if where == section)
        )
        for section in sections
    }
    if sum(wide.values()) + _GAP * len(wide) <= room:
        return [(section, section, width) for section, width in wide.items()], _GAP
    most = max(room // (_NARROWEST + 1), 1)
    if len(sections) > most:
        bad = [section for section in sections if _rank(section, cells, 1) < len(_BAD)]
        keep = {
            *bad[:most],
            *[section for section in sections if section not in bad][: max(most - len(bad), 0)],
        }
        sections = [section for section in sections if section in keep]
    share = max(room // len(sections) - 1, _NARROWEST)
    # Long names get the space that short ones do not need.
    spare = room - sum(min(wide[section], share) + 1 for section in sections)
    columns, taken = [], set[str]()
    for section in sections:
        width = min(wide[section], share + max(spare, 0))
        spare -= max(width - share, 0)
        title = _title(section, width, taken)
        taken.add(title)
        columns.append((section, title, width))
    return columns, 1


def _title(section: str, width: int, taken: set[str]) -> str:
    """Return the start of a section's name, with another last letter if that is taken."""
    candidates = (section[: width - 1] + letter for letter in section[width - 1 :])
    return next((candidate for candidate in candidates if candidate not in taken), section[:width])


def _rank(what: str, cells: _Cells, part: int) -> int:
    """Return the rank of the worst cell of a host (part 0) or section (part 1), lower = worse."""
    signs = [status_look.sign for status_look in _BAD]
    shown = [text[-1:] for key, (text, _) in cells.items() if key[part] == what and text[:1].isdecimal()]
    return min(map(signs.index, shown), default=len(_BAD))


def _worst(hosts: Sequence[str], cells: _Cells, room: int) -> list[str]:
    """Return the worst hosts that fit, in their original order."""
    kept = sorted(hosts, key=lambda host: _rank(host, cells, 0))[: max(room - 1, 1)]
    return [host for host in hosts if host in kept]


def _cut(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "\N{HORIZONTAL ELLIPSIS}"
