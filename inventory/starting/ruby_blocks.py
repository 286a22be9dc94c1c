"""Write out the loops, conditions and values of Ruby, as far as its text alone shows them.

Nothing is run. A loop is written out if what it goes through is plain in the file; what is not is told.
The environment counts as empty.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from labrun.inventory.starting.ruby_lines import MOST_LINES, Line, end_of, statements
from labrun.inventory.starting.ruby_methods import NotComputedError, Value
from labrun.inventory.starting.ruby_values import computed, is_true, with_values
from labrun.inventory.starting.ruby_words import tokens

__all__ = ["expanded"]

_LOOP: Final = re.compile(
    r"\s*(?P<of>\S(?:.*?\S)??)\s*\.(?P<how>each|each_with_index|each_pair|each\.with_index|each_key|each_value"
    r"|times|upto|map)\b(?:\((?P<with>[^|()]*)\))?\s*(?P<begins>do\b|\{)\s*(?:\|(?P<names>[^|]*)\|)?\s*(?P<rest>.*)"
)
_FOR: Final = re.compile(r"\s*for\s+(?P<names>\w+(?:\s*,\s*\w+)*)\s+in\s+(?P<of>.*?\S)(?:\s+do)?\s*")
_ONE_LINE: Final = re.compile(r"(?P<body>.*\S)\s*(?:\}|(?<=\s)end)\s*")
_BLOCK: Final = re.compile(
    r"(?P<head>.*?\S\s*(?:\bdo|\{)\s*\|[^|]*\|)\s*(?P<body>\S.*?)\s*(?:\}|(?<=\s)end)\s*"
)
_SET: Final = re.compile(
    r"\s*(?P<name>[$@]{0,2}[A-Za-z_]\w*)\s*(?P<how>\|\||\+|-)?=(?![=~>])\s*(?P<value>\S.*)"
)
# Spaces stand alone in a statement: more of them than one would make these patterns slow.
_IF: Final = re.compile(r" ?(?P<word>if|unless) (?P<what>\S.*)")
_ELSE: Final = re.compile(r" ?(?:else|elsif (?P<what>\S.*))")
_THEN: Final = " then"
_NAMES: Final = re.compile(r"\w+|[(),]")
_MOST_TURNS: Final = 100
_MOST_STEPS: Final = 30_000
_DEEPEST: Final = 40

Unread: TypeAlias = tuple[int, str, str]
Scope: TypeAlias = "ChainMap[str, Value]"
_Names: TypeAlias = "list[str | _Names]"


def expanded(lines: Sequence[str]) -> tuple[list[Line], list[Unread]]:
    """Return the statements, and what could not be read: its line, the text, and why."""
    writer = _Writer()
    writer.block(statements(lines), ChainMap())
    return writer.lines, list(dict.fromkeys(writer.unread))


class _Writer:
    """The statements written so far, and what could not be read."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.unread: list[Unread] = []
        self._steps = self._depth = 0
        self._is_full = False

    def block(self, lines: Sequence[Line], known: Scope) -> None:
        """Write a block's statements, with the values that are known in it."""
        self._depth += 1
        place = 0
        while place < len(lines):
            line = lines[place]
            self._steps += 1 + len(line.text) // 50
            is_much = len(self.lines) >= MOST_LINES or self._steps >= _MOST_STEPS
            if is_much or self._depth > _DEEPEST or self._is_full:
                if not self._is_full:
                    self._leave_out(line, "too long or too deep: labrun reads no further")
                self._is_full = True
                break
            if match := _LOOP.fullmatch(line.text) or _FOR.fullmatch(line.text):
                place = self._loop(match, lines, place, known)
            elif match := _IF.fullmatch(line.text):
                place = self._condition(match, lines, place, known)
            elif match := _BLOCK.fullmatch(line.text):
                self.block([Line(line.number, match["head"]), *_split(line.number, match["body"])], known)
            elif not _sets(line.text, known):
                self._statement(line, known)
            place += 1
        self._depth -= 1

    def _loop(self, match: re.Match[str], lines: Sequence[Line], place: int, known: Scope) -> int:
        """Write out a loop, and return the place of its last line."""
        line, parts = lines[place], match.groupdict()
        one = _ONE_LINE.fullmatch(parts["rest"]) if parts.get("rest") else None
        end = place if one else end_of(lines, place)
        body = _split(line.number, one["body"]) if one else lines[place + 1 : end]
        try:
            turns = _turns(parts, known)
        except NotComputedError:
            turns = None
        if turns is None or (parts.get("rest") and not one):
            self._leave_out(line, "a loop over what labrun does not compute")
        elif len(turns) > _MOST_TURNS:
            self._leave_out(line, f"a loop of more than {_MOST_TURNS} turns")
        else:
            names = _names(iter(_NAMES.findall(parts.get("names") or "")))
            for turn in turns:
                self._steps += 1
                if self._steps > _MOST_STEPS:
                    break
                inner = known.new_child()
                _bind(names if len(names) != 1 else names[0], turn, inner)
                self.block(body, inner)
        return end

    def _condition(self, match: re.Match[str], lines: Sequence[Line], place: int, known: Scope) -> int:
        """Write the part of a condition that holds, all if that is unclear. Return its last place."""
        end = end_of(lines, place)
        parts: list[tuple[str | None, Sequence[Line]]] = []
        what, begin = match["what"], place + 1
        at = begin
        while at < end:
            if (other := _ELSE.fullmatch(lines[at].text)) is not None:
                parts.append((what, lines[begin:at]))
                what, begin = other["what"], at + 1
                at += 1
            else:
                at = end_of(lines, at) + 1
        parts.append((what, lines[begin:end]))
        try:
            for number, (what, body) in enumerate(parts):
                is_wanted = number > 0 or match["word"] == "if"
                if what is None or is_true(computed(what.removesuffix(_THEN), known)) == is_wanted:
                    self.block(body, known)
                    break
        except NotComputedError:
            self._leave_out(lines[place], "a condition: what it guards counts as if it held")
            for _, body in parts:
                self.block(body, known)
        return end

    def _statement(self, line: Line, known: Scope) -> None:
        text = line.text
        for token in tokens(text)[1:]:
            if token.kind == "name" and token.text in ("if", "unless"):
                try:
                    if is_true(computed(text[token.end :], known)) != (token.text == "if"):
                        return
                except NotComputedError:
                    self._leave_out(line, "a condition: what it guards counts as if it held")
                text = text[: token.begin].rstrip()
                break
        self.lines.append(Line(line.number, with_values(text, known)))

    def _leave_out(self, line: Line, why: str) -> None:
        self.unread.append((line.number, " ".join(line.text.split())[:80], why))


def _split(number: int, text: str) -> list[Line]:
    """Return the statements of a block that stands in one line."""
    lines, begin = [], 0
    for token in tokens(text):
        if token.text == ";":
            lines.append(Line(number, text[begin : token.begin]))
            begin = token.end
    return [*lines, Line(number, text[begin:])]


def _sets(text: str, known: Scope) -> bool:
    """Learn the value of a name. Return whether the statement does no more than give it one that is plain."""
    match = _SET.fullmatch(text)
    if match is None:
        return False
    name, how, value = match["name"], match["how"], match["value"]
    # A block gives a new value to a name from outside of it.
    where = next((each for each in known.maps if name in each), known.maps[0])
    if how == "||" and is_true(where.get(name)):
        return True
    try:
        where[name] = computed(f"{name} {how} ({value})" if how in ("+", "-") else value, known)
    except NotComputedError:
        where.pop(name, None)
        return False
    return True


def _turns(parts: dict[str, str | None], known: Scope) -> Sequence[Value]:
    """Return what a loop's names stand for in each turn. Raises NotComputedError."""
    how = parts.get("how") or "each"
    of = computed(parts["of"] or "", known)
    given = computed(parts["with"] or "", known) if parts.get("with") else None
    if how in ("times", "upto"):
        if not isinstance(of, int) or (how == "upto" and not isinstance(given, int)):
            raise NotComputedError
        return range(of, given + 1) if isinstance(given, int) else range(of)
    if isinstance(of, dict):
        items: Sequence[Value] = [[key, value] for key, value in of.items()]
        if how in ("each_key", "each_value"):
            items = list(of) if how == "each_key" else list(of.values())
    elif isinstance(of, list | range):
        items = of
    else:
        raise NotComputedError
    if not how.endswith("with_index") or len(items) > _MOST_TURNS:
        return items
    first = given if isinstance(given, int) else 0
    return [[item, number] for number, item in enumerate(items, first)]


def _names(words: Iterable[str]) -> _Names:
    """Return the names between a block's bars: ``(name, ip), i`` is a list in a list."""
    found: _Names = []
    for each in words:
        if each == ")":
            break
        if each != ",":
            found.append(_names(words) if each == "(" else each)
    return found


def _bind(name: str | _Names, value: Value, known: Scope) -> None:
    if isinstance(name, str):
        known.maps[0][name] = value
        return
    values = value if isinstance(value, list) else [value]
    for number, each in enumerate(name):
        _bind(each, values[number] if number < len(values) else None, known)
