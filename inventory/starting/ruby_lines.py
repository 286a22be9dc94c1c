"""Turn Ruby into statements: long ones joined, comments left out. Blocks are found by their ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["MOST_LINES", "Line", "end_of", "statements"]

MOST_LINES: Final = 20_000
"""How many lines of a file are read, and how many it may become."""

_OPENS: Final = re.compile(
    r"(?:\bdo\b|\{)(?:\s*\|[^|]*\|)?\s*$|^\s*(?:if|unless|def|case|while|until|for|begin|class|module)\b"
)
_CLOSES: Final = re.compile(r"^\s*(?:end\b|\})")
_HEREDOC: Final = re.compile(r"<<[-~]?[\"']?([A-Z_a-z]\w*)[\"']?")
# A list or mapping that is a statement, or the value of a name.
_DATA: Final = re.compile(r"\s*(?:[$@]{0,2}[A-Za-z_]\w*\s*(?:\|\|)?=\s*)?[\[{(%]")
_TEXT: Final = re.compile(r"\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'")
_LONGEST: Final = 4000
_LONGEST_DATA: Final = 60_000


@dataclass(frozen=True, slots=True)
class Line:
    """One statement, with the line on which it begins."""

    number: int
    text: str


def statements(lines: Sequence[str]) -> list[Line]:
    """Join what brackets or a trailing comma continue; drop comments, =begin blocks and here documents."""
    found: list[Line] = []
    begun: list[str] = []
    first = depth = 0
    skipping = False
    heredoc: str | None = None
    for number, raw in enumerate(lines[:MOST_LINES], 1):
        if raw.startswith(("=begin", "=end")):
            skipping = raw.startswith("=begin")
            continue
        # Patterns that look for spaces take long where there are many.
        text = " ".join(_without_comment(raw).split())
        if heredoc is not None:
            heredoc = None if raw.strip() == heredoc else heredoc
            continue
        if skipping or not text:
            continue
        if match := _HEREDOC.search(text):
            heredoc = match[1]
        if not begun:
            first, depth, is_data = number, 0, _DATA.match(text) is not None
        begun.append(text)
        depth += _depth(text) if is_data else 0
        longest = _LONGEST_DATA if is_data else _LONGEST
        is_long = sum(map(len, begun)) > longest if len(begun) % 64 == 0 else len(begun) > 4096
        if is_long or (depth <= 0 and not text.endswith((",", "\\", "=>"))):
            found.append(Line(first, " ".join(begun)[:longest]))
            begun = []
    return [*found, Line(first, " ".join(begun)[:_LONGEST])] if begun else found


def _depth(text: str) -> int:
    """Return how many brackets a line opens more than it closes."""
    bare = _TEXT.sub("", text)
    return sum(map(bare.count, "[{(")) - sum(map(bare.count, "]})"))


def _without_comment(line: str) -> str:
    quote = ""
    for place, char in enumerate(line[:_LONGEST]):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#" and line[place + 1 : place + 2] != "{":
            return line[:place]
    return line[:_LONGEST]


def end_of(lines: Sequence[Line], start: int) -> int:
    """Return the place of the end that belongs to the block that begins at ``start``."""
    depth = 0
    for place in range(start, len(lines)):
        depth += len(_OPENS.findall(lines[place].text))
        if _CLOSES.match(lines[place].text):
            depth -= 1
        if depth <= 0:
            return place
    return len(lines)
