"""Unified diffs of files, for people; for a file with several items, next to one of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from labrun.tasks.state.item import Item

__all__ = ["compared", "unified", "with_file"]

_CONTEXT = 2
_MOST_LINES = 2_000
_PLACE = re.compile(r"(?<= )([-+])([0-9]+)")
_NO_END = "\\ No newline at end of file"


def unified(path: str, before: str | None, after: str | None) -> str:
    """Return the diff from ``before`` (None = no such file) to ``after``, empty if they are equal."""
    names = ("/dev/null" if before is None else path, "/dev/null" if after is None else path)
    lines = compared(_lines(before or ""), _lines(after or ""), names, context=_CONTEXT)
    return "\n".join(lines)


def compared(
    before: Sequence[str], after: Sequence[str], names: tuple[str, str] = ("", ""), *, context: int = 0
) -> list[str]:
    """Return the lines of a unified diff, two of names first; none without a difference.

    The run time of a comparison grows with the square of the lines, or worse: if more than 2,000 differ,
    only their number is given.
    """
    first = 0
    if max(len(before), len(after)) > _MOST_LINES:
        same = _shared(before, after)
        end = _shared(before[: same - 1 if same else None : -1], after[: same - 1 if same else None : -1])
        old, new = (len(each) - same - end for each in (before, after))
        if max(old, new) > _MOST_LINES:
            return [f"--- {names[0]}", f"+++ {names[1]}", f"-{old} lines", f"+{new} lines"]
        first, last = max(0, same - context), max(0, end - context)
        before, after = before[first : len(before) - last], after[first : len(after) - last]
    lines = difflib.unified_diff(before, after, *names, n=context, lineterm="")
    return [_moved(line, first) if first and line.startswith("@@ ") else line for line in lines]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many leading lines are the same in both."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _moved(header: str, by: int) -> str:
    """Return a hunk's header with its line numbers shifted."""
    return _PLACE.sub(lambda match: f"{match[1]}{int(match[2]) + by}", header)


def with_file(items: Iterable[Item], path: str, before: str | None, after: str | None) -> tuple[Item, ...]:
    """Return the items; the first that changes the file also gets the whole file's diff.

    Items show their part of the file as ``+PATH: line``. Attached to each of them, the full diff
    would be repeated for every line.
    """
    shown = list(items)
    diff = unified(path, before, after)
    changing = [number for number, item in enumerate(shown) if item.state == "change"]
    if not (diff and changing):
        return tuple(shown)
    ours = (f"+{path}: ", f"-{path}: ")
    first = next(
        (
            number
            for number in changing
            if any(line.startswith(ours) for line in (shown[number].diff or "").splitlines())
        ),
        changing[0],
    )
    own = shown[first].diff
    words = replace(shown[first].words, diff=f"{own}\n{diff}" if own else diff)
    shown[first] = replace(shown[first], words=words)
    return tuple(shown)


def _lines(text: str) -> list[str]:
    # A last line without a newline differs from the same line with one.
    lines = text.split("\n")
    last = lines.pop()
    return [*lines, f"{last}\n{_NO_END}"] if last else lines
