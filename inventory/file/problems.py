"""Collect the problems of a lab file, so that all of them are reported at once in plain words."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Final

from labrun.errors import LabFileError, Problem

__all__ = ["MOST_GUESSES", "Path", "Report", "closest", "did_you_mean", "quoted", "shown", "spelled"]

Path = tuple[str | int, ...]

_LONGEST_SHOWN: Final = 60
# A search for a similar name takes milliseconds among a thousand; a garbage file gets only this many.
MOST_GUESSES: Final = 50


def quoted(value: object) -> str:
    """Return a value as messages show it: shortened, quoted, without control characters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return f'"{_visible(str(value))}"'


def shown(value: object) -> str:
    """Return a value as messages name it when another one was expected."""
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else quoted(value)


def spelled(path: Path) -> str:
    """Return a path as text: ``hosts.host01.routes[0].via``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{_visible(part)}" if text else _visible(part)
    return text


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the most similar known name, None if none is similar."""
    if not 1 <= len(name) <= _LONGEST_SHOWN:
        return None
    candidates = [other for other in known if abs(len(other) - len(name)) <= 4]
    folded = {other.lower(): other for other in reversed(candidates)}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the hint ``did you mean "X"?`` if a known name is close enough, else None."""
    name_meant = closest(name, known)
    return f'did you mean "{name_meant}"?' if name_meant else None


def _visible(text: str) -> str:
    short = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in short)


class Report:
    """Gather problems, each located by the path of the wrong key or value."""

    def __init__(self, source: str, line_of: Callable[[Path], int], is_in_file: Callable[[Path], bool]):
        self.source = source
        self.line_of = line_of
        self.is_in_file = is_in_file
        self._problems: dict[tuple[int, str, str], Problem] = {}
        self._guesses = 0

    def add(self, path: Path, what: str, hint: str | None = None, *, line: int | None = None) -> None:
        """Add one problem; a duplicate counts once."""
        problem = Problem(line or self.line_of(path), spelled(path), what, hint)
        self._problems.setdefault((problem.line, problem.path, problem.what), problem)

    def guess(self, name: str, known: Iterable[str]) -> str | None:
        """Return a "did you mean" hint, None if no name is similar or the limit on searches is reached."""
        self._guesses += 1
        return did_you_mean(name, known) if self._guesses <= MOST_GUESSES else None

    def unknown(self, path: Path, kind: str, name: str, known: Iterable[str]) -> None:
        """Add ``no KIND is called "NAME"`` with the nearest known name as the hint."""
        self.add(path, f"no {kind} is called {quoted(name)}", self.guess(name, known))

    def __bool__(self) -> bool:
        return bool(self._problems)

    def raise_if_any(self) -> None:
        """Raise :class:`labrun.errors.LabFileError` with every problem found so far."""
        if self._problems:
            raise LabFileError(self.source, tuple(self._problems.values()))
