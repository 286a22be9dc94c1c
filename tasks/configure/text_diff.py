"""Unified diffs of files, for people; of a file with several things in it, beside one of its items."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace

from labrun.tasks.configure.plan import Item

__all__ = ["unified", "with_file"]

_CONTEXT = 2
_NO_END = "\\ No newline at end of file"


def unified(path: str, before: str | None, after: str | None) -> str:
    """Return how ``after`` differs from ``before`` (None = no such file), empty where it does not."""
    lines = difflib.unified_diff(
        _lines(before or ""),
        _lines(after or ""),
        "/dev/null" if before is None else path,
        "/dev/null" if after is None else path,
        n=_CONTEXT,
        lineterm="",
    )
    return "\n".join(lines)


def with_file(items: Iterable[Item], path: str, before: str | None, after: str | None) -> tuple[Item, ...]:
    """Return the items, the first that changes the file with the whole file's diff below its own lines.

    Items say what of the file is theirs as ``+PATH: line``. Beside every one of them the whole file
    would be there as often as it has lines.
    """
    found = list(items)
    diff = unified(path, before, after)
    changing = [number for number, item in enumerate(found) if item.state == "change"]
    if not (diff and changing):
        return tuple(found)
    ours = (f"+{path}: ", f"-{path}: ")
    first = next(
        (
            number
            for number in changing
            if any(line.startswith(ours) for line in (found[number].diff or "").splitlines())
        ),
        changing[0],
    )
    own = found[first].diff
    found[first] = replace(found[first], diff=f"{own}\n{diff}" if own else diff)
    return tuple(found)


def _lines(text: str) -> list[str]:
    # A last line without its end is another line than the one with it.
    lines = text.split("\n")
    last = lines.pop()
    return [*lines, f"{last}\n{_NO_END}"] if last else lines
