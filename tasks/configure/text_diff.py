"""Unified diffs of files, for people."""

from __future__ import annotations

import difflib

__all__ = ["unified"]

_CONTEXT = 2
_NO_END = "\\ No newline at end of file"


def unified(path: str, before: str | None, after: str) -> str:
    """Return how ``after`` differs from ``before`` (None = no such file), empty where it does not."""
    lines = difflib.unified_diff(
        _lines(before or ""),
        _lines(after),
        "/dev/null" if before is None else path,
        path,
        n=_CONTEXT,
        lineterm="",
    )
    return "\n".join(lines)


def _lines(text: str) -> list[str]:
    # A last line without its end is another line than the one with it.
    lines = text.split("\n")
    last = lines.pop()
    return [*lines, f"{last}\n{_NO_END}"] if last else lines
