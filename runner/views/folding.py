"""Show the rows and diffs of one host's many settings as one, to keep the table readable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from labrun.outcome import OUT_OF_BAND, Outcome, Status
from labrun.runner.views.status_look import look
from labrun.tasks.state.sections import section_of

__all__ = ["fold", "joined"]


_FEWEST = 3


def fold(rows: Sequence[Outcome]) -> list[Outcome]:
    """Return the rows, with consecutive sshd settings of one host and status folded into one row.

    All rows of an unreachable host are folded, too, since they share one reason. A row that failed or has
    its own reason is not folded, nor are fewer than three rows; that it was seen out of band does not count
    as one.
    """
    folded: list[Outcome] = []
    for _, members in groupby(enumerate(rows), key=lambda numbered: _key(*numbered)):
        run = [row for _, row in members]
        folded += run if len(run) < _FEWEST else [_folded(run)]
    return folded


def _key(number: int, row: Outcome) -> tuple[object, ...]:
    if row.status is Status.UNREACHABLE and row.why:
        return (row.host, row.status, row.why)
    shared = look(row.status)
    is_alike = shared.reason_shared or (shared.folded_value and row.why in (None, "", OUT_OF_BAND))
    if section_of(row.section).foldable and is_alike:
        return (row.host, row.section, row.status, row.why)
    return (number,)


def _folded(run: Sequence[Outcome]) -> Outcome:
    first = run[0]
    if any(row.section != first.section for row in run):
        # A host that cannot be logged in to: one reason applies to all of its rows.
        everything = f"everything ({len(run)})"
        return replace(first, section=everything, name=first.host, expected=None, actual=None, diff=None)
    return replace(
        first,
        name=f"({len(run)} settings)",
        expected="as declared",
        actual=look(first.status).folded_value,
        diff=None,
        seconds=sum(row.seconds for row in run),
    )


def joined(rows: Sequence[Outcome]) -> list[tuple[Sequence[Outcome], list[str]]]:
    """Return each diff's lines with their rows. Rows without a diff are left out.

    A line ``+PATH: text`` is left out if the unified diff of that file shows it anyway.
    """
    diffs: list[tuple[Sequence[Outcome], list[str]]] = []
    changing = [row for row in rows if row.diff]
    order = {key: number for number, key in enumerate(dict.fromkeys(map(_group, changing)))}
    for _, members in groupby(sorted(changing, key=lambda row: order[_group(row)]), key=_group):
        group = list(members)
        parts = [_apart(row.diff or "") for row in group]
        files = [line for _, file in parts for line in file]
        files_shown = {line[4:] for line in files if line.startswith(("--- ", "+++ "))}
        other_lines = [line for lines, _ in parts for line in lines if _path(line) not in files_shown]
        diffs.append((group, other_lines + files))
    return diffs


def _group(row: Outcome) -> tuple[str, str, str]:
    return row.host, row.section, "" if len(section_of(row.section).files) == 1 else row.name


def _apart(diff: str) -> tuple[list[str], list[str]]:
    """Split a row's diff into its first lines and the unified diff at its end."""
    lines = diff.split("\n")
    for number, (line, following) in enumerate(pairwise(lines)):
        if line.startswith("--- ") and following.startswith("+++ "):
            return lines[:number], lines[number:]
    return lines, []


def _path(line: str) -> str | None:
    """Return the file of a line ``+/path: text``, None for any other line."""
    path, colon, _ = line[1:].partition(": ")
    return path if colon and path.startswith("/") and line[0] in "+-" else None
