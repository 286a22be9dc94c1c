"""The values that Ruby's text has, and what harmless methods and operators make of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

__all__ = [
    "NotComputedError",
    "Value",
    "calculated",
    "called",
    "formatted",
    "item",
    "short",
    "small",
    "whole",
    "word",
]

Value: TypeAlias = "str | int | bool | range | list[Value] | dict[str, Value] | None"

_FORMAT: Final = re.compile(r"(?:[^%]|%0?\d?[ds])*")
_MOST: Final = 4000
_LARGEST: Final = 10**12


class NotComputedError(Exception):
    """The text is no value that can be told without running it."""


def whole(value: Value) -> int:
    """Return a whole number as it is. Raises NotComputedError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise NotComputedError
    return value


def small(number: int) -> int:
    """Return a number as it is. Raises NotComputedError if it is out of all proportion."""
    if abs(number) > _LARGEST:
        raise NotComputedError
    return number


def short(text: str) -> str:
    """Return text as it is. Raises NotComputedError if it is out of all proportion."""
    if len(text) > _MOST:
        raise NotComputedError
    return text


def calculated(left: int, sign: str, right: int) -> int:
    """Return a product, quotient or remainder. Raises NotComputedError for a division by 0."""
    if sign == "*":
        return left * right
    if right == 0:
        raise NotComputedError
    return left // right if sign == "/" else left % right


def formatted(shape: str, values: Sequence[Value]) -> str:
    """Return what Ruby's ``format`` gives for %d and %s. Raises NotComputedError for other shapes."""
    if not _FORMAT.fullmatch(shape):
        raise NotComputedError
    try:
        return short(shape % tuple(values))
    except (TypeError, ValueError):
        raise NotComputedError from None


def word(value: Value) -> str:
    """Return what Ruby's ``to_s`` gives. Raises NotComputedError for lists and mappings."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    raise NotComputedError


def item(value: Value, key: Value) -> Value:
    """Return ``value[key]``, None where Ruby gives nil. Raises NotComputedError for what has no items."""
    if isinstance(value, dict):
        return value.get(word(key))
    if isinstance(value, list | range) and isinstance(key, int):
        return value[key] if -len(value) <= key < len(value) else None
    raise NotComputedError


_OF_TEXT: Final[Mapping[str, Callable[[str], Value]]] = {
    "upcase": str.upper,
    "downcase": str.lower,
    "capitalize": str.capitalize,
    "strip": str.strip,
    "to_sym": str,
    "length": len,
    "size": len,
}
_OF_MANY: Final[Mapping[str, Callable[[list[Value]], Value]]] = {
    "length": len,
    "size": len,
    "count": len,
    "first": lambda many: many[0] if many else None,
    "last": lambda many: many[-1] if many else None,
    "reverse": lambda many: many[::-1],
    "to_a": list,
    "empty?": lambda many: not many,
}


def called(value: Value, method: str, arguments: Sequence[Value]) -> Value:
    """Return what a method gives. Only methods that change nothing are known."""
    match method, arguments:
        case (("freeze" | "dup" | "clone"), []):
            return value
        case "nil?", []:
            return value is None
        case "to_s", []:
            return word(value)
        case "to_i", []:
            return int(found[0]) if (found := re.match(r"\s*-?\d{1,12}", word(value))) else 0
        case "rjust", [int(width), *filling] if isinstance(value, str) and width < 100 and len(filling) < 2:
            return value.rjust(width, word(filling[0])[:1] or " ") if filling else value.rjust(width)
        case (("succ" | "next"), []) if isinstance(value, int):
            return value + 1
    if isinstance(value, str) and not arguments and method in _OF_TEXT:
        return _OF_TEXT[method](value)
    if isinstance(value, dict):
        return _of_mapping(value, method, arguments)
    if isinstance(value, list | range) and not arguments and len(value) <= _MOST and method in _OF_MANY:
        return _OF_MANY[method](list(value))
    raise NotComputedError


def _of_mapping(value: dict[str, Value], method: str, arguments: Sequence[Value]) -> Value:
    match method, arguments:
        case (("fetch" | "dig"), [key]) if word(key) in value:
            return value[word(key)]
        case "dig", [key, *keys] if keys and (inner := value.get(word(key))) is not None:
            return called(inner, "dig", keys)
        case "dig", _:
            return None
        case "fetch", [key, default]:
            return value.get(word(key), default)
        case (("key?" | "has_key?" | "include?"), [key]):
            return word(key) in value
        case "keys", []:
            return list(value)
        case "values", []:
            return list(value.values())
        case (("length" | "size" | "count"), []):
            return len(value)
        case "empty?", []:
            return not value
    raise NotComputedError
