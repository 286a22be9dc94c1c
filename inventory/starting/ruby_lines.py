"""Turn Ruby into single lines, as far as text alone shows them: long statements, constants, counted loops.

Nothing is run. A loop is written out if its range is two numbers, or constants that are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["Line", "expanded"]

_LOOP: Final = re.compile(
    r"\s*+(?:\(\s*+)?(\w++)\s*+(\.\.\.?)\s*+(\w++)\s*+(?:\)\s*+)?\.each\s++do\s*+"
    r"\|\s*+(\w++)\s*+\|\s*+"
)
_TIMES: Final = re.compile(r"\s*(\w+)\.times\s+do\s*\|\s*(\w+)\s*\|\s*")
_CONSTANT: Final = re.compile(r"\s*([A-Z_a-z]\w*)\s*=\s*(?:\"([^\"#]*)\"|'([^']*)'|(\d{1,9}))\s*")
_OPENS: Final = re.compile(
    r"\bdo\b(?:\s*\|[^|]*\|)?\s*$|^\s*(?:if|unless|def|case|while|begin|class|module)\b"
)
_CLOSES: Final = re.compile(r"^\s*end\b")
_INSIDE: Final = re.compile(r"#\{\s*(\w+)\s*(?:([-+*])\s*(\w+))?\s*\}")
_HEREDOC: Final = re.compile(r"<<[-~]?[\"']?([A-Z_a-z]\w*)[\"']?")
_MOST_TURNS: Final = 100
_MOST_LINES: Final = 20_000

Unread: TypeAlias = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One statement, with the line on which it begins."""

    number: int
    text: str


def expanded(lines: Sequence[str]) -> tuple[list[Line], list[Unread]]:
    """Return the statements, and what could not be read: its line, the text, and why."""
    unread: list[Unread] = []
    result: list[Line] = []
    _expand(_statements(lines), {}, result, unread)
    return result, unread


def _statements(lines: Sequence[str]) -> list[Line]:
    """Join what a trailing comma continues; comments, =begin blocks and here documents are dropped."""
    statements: list[Line] = []
    begun: Line | None = None
    skipping = False
    heredoc: str | None = None
    for number, raw in enumerate(lines[:_MOST_LINES], 1):
        if raw.startswith(("=begin", "=end")):
            skipping = raw.startswith("=begin")
            continue
        text = _without_comment(raw).rstrip()
        if heredoc is not None:
            heredoc = None if raw.strip() == heredoc else heredoc
            continue
        if skipping or not text.strip():
            continue
        if match := _HEREDOC.search(text):
            heredoc = match[1]
        begun = Line(begun.number, f"{begun.text} {text.strip()}") if begun else Line(number, text)
        if len(begun.text) > 4000 or not begun.text.endswith((",", "\\", "=>")):
            statements.append(Line(begun.number, begun.text[:4000]))
            begun = None
    return [*statements, begun] if begun else statements


def _without_comment(line: str) -> str:
    quote = ""
    for place, char in enumerate(line[:4000]):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#" and line[place + 1 : place + 2] != "{":
            return line[:place]
    return line[:4000]


def _expand(lines: Sequence[Line], known: dict[str, str], result: list[Line], unread: list[Unread]) -> None:
    place = 0
    while place < len(lines) and len(result) < _MOST_LINES:
        line = lines[place]
        if match := _CONSTANT.fullmatch(line.text):
            known[match[1]] = next(each for each in match.groups()[1:] if each is not None)
        elif (turns := _turns(line.text, known)) is not None:
            end = _end_of(lines, place)
            if len(turns[1]) > _MOST_TURNS:
                unread.append((line.number, _shown(line.text), f"a loop of more than {_MOST_TURNS} turns"))
            else:
                for value in turns[1]:
                    _expand(lines[place + 1 : end], {**known, turns[0]: str(value)}, result, unread)
            place = end
        elif re.search(r"\.(each|each_with_index|times|map)\b.*\bdo\b", line.text):
            end = _end_of(lines, place)
            unread.append((line.number, _shown(line.text), "a loop over what labrun does not compute"))
            place = end
        else:
            result.append(Line(line.number, _INSIDE.sub(lambda match: _computed(match, known), line.text)))
        place += 1


def _shown(text: str) -> str:
    return " ".join(text.split())[:80]


def _turns(text: str, known: dict[str, str]) -> tuple[str, range] | None:
    """Return a loop's variable and its values, None if the line begins no loop that can be counted."""
    if match := _LOOP.fullmatch(text):
        first, last = (_number(word, known) for word in (match[1], match[3]))
        if first is None or last is None:
            return None
        return match[4], range(first, last + (len(match[2]) == 2))
    if match := _TIMES.fullmatch(text):
        count = _number(match[1], known)
        return None if count is None else (match[2], range(count))
    return None


def _number(word: str, known: dict[str, str]) -> int | None:
    text = known.get(word, word)
    return int(text) if re.fullmatch(r"\d{1,6}", text) else None


def _computed(match: re.Match[str], known: dict[str, str]) -> str:
    """Return the text for `#{i}`, `#{i + 10}`; unchanged if its parts are not known."""
    first = known.get(match[1], match[1] if match[1].isdigit() else None)
    if first is None or match[2] is None:
        return match[0] if first is None else first
    left, right = _number(first, known), _number(match[3], known)
    if left is None or right is None:
        return match[0]
    return str({"+": left + right, "-": left - right, "*": left * right}[match[2]])


def _end_of(lines: Sequence[Line], start: int) -> int:
    """Return the place of the `end` that belongs to the block that begins at ``start``."""
    depth = 0
    for place in range(start, len(lines)):
        depth += len(_OPENS.findall(lines[place].text))
        if _CLOSES.match(lines[place].text):
            depth -= 1
        if depth <= 0:
            return place
    return len(lines)
