"""The line of a lab file that a problem is in, with a mark below what is wrong, for people.

Problems know their line and path; the columns are looked up in the file's text only when one is shown.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from labrun.errors import Problem
from labrun.inventory.file.problems import spelled

__all__ = ["MOST_EXCERPTS", "excerpts"]

MOST_EXCERPTS: Final = 10
"""Of more problems than this, only the messages are shown: they fill a screen by themselves."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OF_KEYS: Final = frozenset({"unknown key", "duplicate key", "this key is missing"})
_PART: Final = re.compile(r"\.[^.\[]*$|\[\d+\]$")


@dataclass(frozen=True, slots=True)
class _Spot:
    """A piece of one line: ``line`` counts from 1, ``start`` and ``end`` from 0."""

    line: int
    start: int
    end: int


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being read: where it is, and its latest key or index."""

    path: str
    is_mapping: bool
    key: str | None = None
    index: int = 0


def excerpts(text: str, problems: Sequence[Problem], width: int = 80) -> list[str]:
    """Return for each problem its line of the text and the mark below, or an empty text.

    Both are cut to ``width`` columns around the mark. There are none for more problems than
    :data:`MOST_EXCERPTS`, nor for a problem of the file as a whole.
    """
    if len(problems) > MOST_EXCERPTS:
        return [""] * len(problems)
    lines = text.splitlines()
    wanted = {each for problem in problems for each in _path_and_above(problem.path)}
    keys, values = _spots(text, wanted)
    return [
        _drawn(lines[problem.line - 1], problem.line, _spot(problem, keys, values), width)
        if 0 < problem.line <= len(lines)
        else ""
        for problem in problems
    ]


def _path_and_above(path: str) -> Iterator[str]:
    """Yield the path and those of the mappings and lists that it is in, the nearest first.

    A name with a dot in it ends a path too early; what is found there is on another line, and not taken.
    """
    path = path.lower()
    while path:
        yield path
        shorter = _PART.sub("", path)
        path = shorter if shorter != path else ""


def _spot(problem: Problem, keys: dict[str, list[_Spot]], values: dict[str, list[_Spot]]) -> _Spot | None:
    """Return what to mark: the value that is wrong, or the key, or the nearest key above on that line."""
    for number, path in enumerate(_path_and_above(problem.path)):
        tables = (keys,) if number or problem.what in _OF_KEYS else (values, keys)
        for table in tables:
            for spot in table.get(path, ()):
                if spot.line == problem.line:
                    return spot
    return None


def _spots(text: str, wanted: Collection[str]) -> tuple[dict[str, list[_Spot]], dict[str, list[_Spot]]]:
    """Return where the keys and the scalars of the wanted paths are, as far as YAML can read the text.

    Iterative and without a tree: a file that nests too deeply or grows by aliases is read like any other.
    """
    keys: dict[str, list[_Spot]] = {}
    values: dict[str, list[_Spot]] = {}
    stack: list[_Frame] = []
    loader = _LOADER(text)
    try:
        while loader.check_event():
            _take(loader.get_event(), stack, wanted, keys, values)
    except yaml.YAMLError:
        pass  # what comes after the error has no marks
    finally:
        loader.dispose()
    return keys, values


def _take(
    event: Any,
    stack: list[_Frame],
    wanted: Collection[str],
    keys: dict[str, list[_Spot]],
    values: dict[str, list[_Spot]],
) -> None:
    if isinstance(event, yaml.CollectionEndEvent):
        stack.pop()
        _close(stack)
        return
    if not isinstance(event, yaml.NodeEvent):
        return
    top = stack[-1] if stack else None
    if top is not None and top.is_mapping and top.key is None and isinstance(event, yaml.ScalarEvent):
        top.key = str(event.value)
        _note(event, _below(top), wanted, keys)
        return
    path = _below(top) if top is not None else ""
    if isinstance(event, yaml.CollectionStartEvent):
        stack.append(_Frame(path, isinstance(event, yaml.MappingStartEvent)))
        return
    _note(event, path, wanted, values)
    _close(stack)


def _below(frame: _Frame) -> str:
    part = spelled((frame.key or "",)) if frame.is_mapping else f"[{frame.index}]"
    return f"{frame.path}.{part}" if frame.path and frame.is_mapping else frame.path + part


def _close(stack: list[_Frame]) -> None:
    """Go on to the next entry of the innermost mapping or list."""
    if stack:
        stack[-1].key = None
        stack[-1].index += 1


def _note(event: Any, path: str, wanted: Collection[str], into: dict[str, list[_Spot]]) -> None:
    start, end = event.start_mark, event.end_mark
    if path.lower() in wanted and start.line == end.line and end.column > start.column:
        into.setdefault(path.lower(), []).append(_Spot(start.line + 1, start.column, end.column))


def _drawn(line: str, number: int, spot: _Spot | None, width: int) -> str:
    """Return the line with its number, and below it the mark, if there is something to mark."""
    margin = f"  {number:>4} | "
    room = max(width - len(margin), 20)
    # A tab counts as one column in YAML's marks, so it has to take one here.
    line = line.replace("\t", " ")
    start, end = (spot.start, min(spot.end, len(line))) if spot is not None else (0, 0)
    # An ellipsis may follow what is marked.
    fits = len(line.rstrip()) <= room or end < room
    first = 0 if fits else max(0, min(start - 10, end - room + 1))
    shown = line[first : first + room].rstrip()
    if first:
        shown = "…" + shown[1:]
    if len(line.rstrip()) > first + room:
        shown = shown[: room - 1] + "…"
    mark = (
        f"\n{'':{len(margin) - 2}}| {'':{start - first}}{'^' * min(end - start, room)}" if end > start else ""
    )
    return f"{margin}{shown}{mark}"
