"""The rows' diffs for people: those of one file's many settings as one, the settings first, then the file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from labrun.outcome import Outcome

__all__ = ["joined"]

# Their rows are lines of one file.
_ONE_FILE = frozenset({"sshd", "sysctl"})


def joined(rows: Sequence[Outcome]) -> list[tuple[Sequence[Outcome], list[str]]]:
    """Return each diff's lines with the rows they come from; rows without a diff have none.

    A line ``+PATH: text`` is left out where the unified diff of that file shows it anyway.
    """
    found: list[tuple[Sequence[Outcome], list[str]]] = []
    changing = [row for row in rows if row.diff]
    order = {key: number for number, key in enumerate(dict.fromkeys(map(_group, changing)))}
    for _, members in groupby(sorted(changing, key=lambda row: order[_group(row)]), key=_group):
        group = list(members)
        parts = [_apart(row.diff or "") for row in group]
        files = [line for _, file in parts for line in file]
        shown = {line[4:] for line in files if line.startswith(("--- ", "+++ "))}
        own = [line for lines, _ in parts for line in lines if _path(line) not in shown]
        found.append((group, own + files))
    return found


def _group(row: Outcome) -> tuple[str, str, str]:
    return row.host, row.section, "" if row.section in _ONE_FILE else row.name


def _apart(diff: str) -> tuple[list[str], list[str]]:
    """Return a row's own lines and those of the unified diff at its end."""
    lines = diff.split("\n")
    for number, (line, following) in enumerate(pairwise(lines)):
        if line.startswith("--- ") and following.startswith("+++ "):
            return lines[:number], lines[number:]
    return lines, []


def _path(line: str) -> str | None:
    """Return the file of a line ``+/path: text``, None for another line."""
    path, colon, _ = line[1:].partition(": ")
    return path if colon and path.startswith("/") and line[0] in "+-" else None
