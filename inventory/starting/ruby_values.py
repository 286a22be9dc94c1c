"""Compute the values that are plain in Ruby's text: literals, names of values, arithmetic, a few methods.

Nothing is run: whatever else stands there has no value here.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from typing import Final

from labrun.inventory.starting.ruby_methods import (
    NotComputedError,
    Value,
    calculated,
    called,
    formatted,
    item,
    short,
    small,
    whole,
    word,
)
from labrun.inventory.starting.ruby_words import Token, tokens

__all__ = ["computed", "is_true", "with_values"]

_INSIDE: Final = re.compile(r"#\{([^{}]*)\}")
_ESCAPED: Final = re.compile(r"\\(.)")
_AFTER: Final = frozenset([",", ")", "]", "}", "{", "do", "=>"])
_BEFORE: Final = frozenset([",", "(", "[", "{", "=", "=>"])
_DEEPEST: Final = 30
_MOST: Final = 4000


def computed(text: str, known: Mapping[str, Value]) -> Value:
    """Return the value of an expression. Raises NotComputedError if it has none that the text tells."""
    found = tokens(text)
    value, place = _expression(found, 0, known)
    if place != len(found):
        raise NotComputedError
    return value


def is_true(value: Value) -> bool:
    """Return whether Ruby takes a value for true: 0 and "" are."""
    return value is not None and value is not False


def with_values(text: str, known: Mapping[str, Value]) -> str:
    """Return a statement with each argument that has a value replaced by it, as Ruby writes it."""
    found = tokens(text)
    parts: list[str] = []
    end = place = 0
    while place < len(found):
        token = found[place]
        replaced = _replaced(found, place, known)
        shown, after = replaced or (token.text, place + 1)
        parts += [text[end : token.begin], shown]
        end, place = found[after - 1].end, after
    return "".join([*parts, text[end:]])


def _replaced(found: Sequence[Token], place: int, known: Mapping[str, Value]) -> tuple[str, int] | None:
    """Return the text for the argument that begins at a token, and the place after it."""
    token = found[place]
    before = found[place - 1] if place else None
    # Only where an argument begins, so not after an operator.
    if before is None or (before.kind == "sign" and before.text not in _BEFORE):
        return None
    if token.kind == "name":
        if token.text not in known and token.text not in ("format", "sprintf", "ENV"):
            return None
    elif token.text == "(":
        # A call's own parentheses stay.
        if before.kind == "name" and before.end == token.begin:
            return None
    elif token.kind not in ("text", "number"):
        return None
    try:
        value, after = _expression(found, place, known)
    except NotComputedError:
        return None
    if after == place + 1 and token.kind in ("text", "number") and "#{" not in token.text:
        return None
    shown = _written(value)
    ends = after == len(found) or found[after].text in _AFTER
    return (shown, after) if ends and shown is not None else None


def _expression(
    found: Sequence[Token], place: int, known: Mapping[str, Value], depth: int = 0
) -> tuple[Value, int]:
    """Return the value of the longest expression that begins at a token, and the place after it."""
    reader = _Reader(found, place, known, depth)
    value = reader.choice()
    return value, reader.place


def _written(value: Value) -> str | None:
    """Return a value as Ruby text, None for one that no single word can be."""
    if value is None or isinstance(value, bool):
        return "nil" if value is None else str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        quote = "'" if '"' in value else '"'
        return None if quote in value or "#{" in value else f"{quote}{value}{quote}"
    return None


class _Reader:
    """A recursive descent through the tokens of one expression."""

    def __init__(self, found: Sequence[Token], place: int, known: Mapping[str, Value], depth: int):
        self._tokens, self.place, self._known, self._depth = found, place, known, depth

    def _next(self) -> Token | None:
        return self._tokens[self.place] if self.place < len(self._tokens) else None

    def _take(self, *texts: str) -> str | None:
        token = self._next()
        if token is None or token.kind not in ("sign", "name") or token.text not in texts:
            return None
        self.place += 1
        return token.text

    def _want(self, text: str) -> None:
        if self._take(text) is None:
            raise NotComputedError

    def choice(self) -> Value:
        """Read ``condition ? one : other``, or what is simpler."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotComputedError
        value = self._either()
        if self._take("?"):
            first = self.choice()
            self._want(":")
            other = self.choice()
            value = first if is_true(value) else other
        self._depth -= 1
        return value

    def _either(self) -> Value:
        value = self._both()
        while self._take("||"):
            other = self._both()
            value = value if is_true(value) else other
        return value

    def _both(self) -> Value:
        value = self._compared()
        while self._take("&&"):
            other = self._compared()
            value = other if is_true(value) else value
        return value

    def _compared(self) -> Value:
        value = self._span()
        if sign := self._take("==", "!=", "<", ">", "<=", ">="):
            other = self._span()
            if sign in ("==", "!="):
                # Lists in lists, each twice, would take for ever.
                if isinstance(value, list | dict):
                    raise NotComputedError
                return (value == other) == (sign == "==")
            compare = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}[sign]
            return bool(compare(whole(value), whole(other)))
        return value

    def _span(self) -> Value:
        value = self._sum()
        if sign := self._take("..", "..."):
            last = whole(self._sum())
            return range(whole(value), last + (sign == ".."))
        return value

    def _sum(self) -> Value:
        value = self._product()
        while sign := self._take("+", "-"):
            other = self._product()
            if sign == "+" and isinstance(value, str) and isinstance(other, str):
                value = short(value + other)
            elif sign == "+" and isinstance(value, list) and isinstance(other, list):
                value = [*value, *other][:_MOST]
            else:
                value = small(whole(value) + (whole(other) if sign == "+" else -whole(other)))
        return value

    def _product(self) -> Value:
        value = self._with_methods()
        while sign := self._take("*", "/", "%"):
            other = self._with_methods()
            if sign == "%" and isinstance(value, str):
                value = formatted(value, other if isinstance(other, list) else [other])
            else:
                value = small(calculated(whole(value), sign, whole(other)))
        return value

    def _with_methods(self) -> Value:
        value = self._single()
        while True:
            token = self._next()
            # With a space before it, a bracket is an argument of its own.
            if token and token.text == "[" and token.begin == self._tokens[self.place - 1].end:
                self.place += 1
                value = item(value, self.choice())
                self._want("]")
            elif self._take("."):
                value = self._method(value)
            else:
                return value

    def _method(self, value: Value) -> Value:
        token = self._next()
        if token is None or token.kind not in ("name", "key"):
            raise NotComputedError
        self.place += 1
        arguments: list[Value] = []
        if (opens := self._next()) and opens.text == "(" and opens.begin == token.end:
            self.place += 1
            arguments = self._list(")")
        return called(value, token.text, arguments)

    def _list(self, closes: str) -> list[Value]:
        values: list[Value] = []
        while self._take(closes) is None:
            if values:
                self._want(",")
                if self._take(closes):
                    break
            values.append(self.choice())
        return values

    def _single(self) -> Value:
        token = self._next()
        if token is None:
            raise NotComputedError
        self.place += 1
        if token.kind == "text":
            return self._string(token.text)
        if token.kind == "symbol":
            return token.text[1:].strip('"')
        if token.kind == "number":
            return small(int(token.text.replace("_", "")[:20]))
        if token.kind == "words":
            return list(token.text[3:-1].split())
        if token.kind == "name":
            return self._named(token.text)
        return self._signed(token.text)

    def _named(self, name: str) -> Value:
        if name in ("true", "false", "nil"):
            return {"true": True, "false": False, "nil": None}[name]
        if name == "ENV" and name not in self._known:
            return {}
        if name in ("format", "sprintf") and self._take("("):
            shape, *values = self._list(")") or [None]
            return formatted(word(shape), values)
        if name not in self._known:
            raise NotComputedError
        return self._known[name]

    def _signed(self, sign: str) -> Value:
        if sign == "(":
            value = self.choice()
            self._want(")")
            return value
        if sign == "[":
            return self._list("]")
        if sign == "{":
            return self._mapping()
        if sign in ("-", "!") and self._depth < _DEEPEST:
            self._depth += 1
            value = self._with_methods()
            self._depth -= 1
            return -whole(value) if sign == "-" else not is_true(value)
        raise NotComputedError

    def _mapping(self) -> Value:
        found: dict[str, Value] = {}
        while self._take("}") is None:
            if found:
                self._want(",")
                if self._take("}"):
                    break
            token = self._next()
            if token is not None and token.kind in ("key", "label"):
                self.place += 1
                key = token.text[:-1].strip("\"'")
            else:
                key = word(self.choice())
                self._want("=>")
            found[key] = self.choice()
        return found

    def _string(self, text: str) -> str:
        if text.startswith("'"):
            return text[1:-1]

        def inside(match: re.Match[str]) -> str:
            if self._depth >= _DEEPEST:
                raise NotComputedError
            found = tokens(match[1])
            value, place = _expression(found, 0, self._known, self._depth + 1)
            if place != len(found):
                raise NotComputedError
            return word(value)

        return short(_ESCAPED.sub(r"\1", _INSIDE.sub(inside, text[1:-1])))
