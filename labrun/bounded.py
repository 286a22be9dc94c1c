"""Read host output within bounds: JSON, numbers and addresses, each checked for its type.

A guest may print anything. Input that is too large, too deeply nested or of another type raises an
UnreadableError that gives the reason. Time and memory are linear in the length of the input.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from itertools import accumulate
from typing import Any, NoReturn, TypeVar

from labrun.errors import UnreadableError

__all__ = [
    "LATEST",
    "MOST_LINES",
    "SETTINGS_LINES",
    "address",
    "as_address",
    "as_integer",
    "as_interface",
    "as_list",
    "as_object",
    "as_prefix",
    "as_text",
    "integer",
    "objects",
    "read_json",
    "require_lines",
]

MOST_LINES = 200_000
"""Maximum number of lines in one host's output: a line costs a hundred times as much as a byte."""
SETTINGS_LINES = 10_000
"""Maximum number of lines in a settings file, or in a daemon's dump of its settings."""
LATEST = 253_402_300_799
"""The last second of the year 9999, in seconds since the epoch: no calendar here goes beyond it."""

_MOST_CHARACTERS = 4 * 1024 * 1024
_MOST_ELEMENTS = 250_000
_MOST_OBJECTS = 20_000
_DEEPEST = 64
_MOST_DIGITS = 40
_LARGEST = 2**64 - 1
_LONGEST_ADDRESS, _LONGEST_TEXT = 80, 4096

# Possessive, with an optional closing quote: each character is visited once.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_LONG_NUMBER = re.compile(rf"(?<![0-9])[0-9]{{{_MOST_DIGITS + 1}}}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_INTEGER = re.compile(r"-?[0-9]{1,20}")

Hook = Callable[[dict[str, Any]], Any]
_T = TypeVar("_T")


def read_json(text: str, what: str, hook: Hook | None = None) -> Any:
    """Parse the JSON document that a host printed as ``what`` (``ip address``); ``hook`` is ``json``'s.

    If a key is repeated, the last one counts. A lone surrogate becomes ``?``, since neither files nor
    terminals accept it. Raises UnreadableError.
    """
    _require_bounds(text, what)
    try:
        if _SURROGATE.search(text):
            plain = json.dumps(json.loads(text), ensure_ascii=False)
            text = plain.encode("utf-8", errors="replace").decode("utf-8")
        return json.loads(text, object_hook=hook, parse_float=_finite, parse_constant=_no_number)
    except UnreadableError as error:
        error.step = error.step or what
        raise
    except ValueError as error:
        raise UnreadableError("not JSON", step=what) from error


def _require_bounds(text: str, what: str) -> None:
    if len(text) > _MOST_CHARACTERS:
        raise UnreadableError(f"{len(text)} characters, more than {_MOST_CHARACTERS}", step=what)
    if "[" not in text and "{" not in text and len(text) <= _MOST_DIGITS:
        return
    bare = _STRING.sub("", text)
    brackets = _NO_BRACKET.sub("", bare)
    if len(brackets) + bare.count(",") > _MOST_ELEMENTS:
        raise UnreadableError(f"more than {_MOST_ELEMENTS} values", step=what)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > _DEEPEST:
        raise UnreadableError(f"nested more than {_DEEPEST} deep", step=what)
    if _LONG_NUMBER.search(bare):
        raise UnreadableError(f"a number of more than {_MOST_DIGITS} digits", step=what)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UnreadableError("a number that is too large")
    return value


def _no_number(text: str) -> NoReturn:
    raise UnreadableError(f"{text} in place of a number")


def integer(value: object, *, least: int = 0, most: int = _LARGEST) -> int | None:
    """Return an integer that a host gave as text or in JSON, None if it is anything else or out of range."""
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if _INTEGER.fullmatch(text) else None
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if least <= value <= most else None


def as_integer(value: object, what: str, *, least: int = 0, most: int = _LARGEST) -> int:
    """Return an integer from ``least`` to ``most``. Raises UnreadableError for anything else."""
    number = integer(value, least=least, most=most)
    if number is None:
        raise UnreadableError(f"{_quoted(value)} in place of a number", step=what)
    return number


def as_object(value: object, what: str, kind: str = "an object") -> Mapping[str, Any]:
    """Return a JSON object. Raises UnreadableError ``not KIND``."""
    if not isinstance(value, dict):
        raise UnreadableError(f"not {kind}", step=what)
    return value


def as_list(value: object, what: str, kind: str = "a list") -> list[Any]:
    """Return a JSON list. Raises UnreadableError ``not KIND``."""
    if not isinstance(value, list):
        raise UnreadableError(f"not {kind}", step=what)
    return value


def objects(value: object, what: str, kind: str) -> list[Mapping[str, Any]]:
    """Return a JSON list of objects without the empty ones. Raises UnreadableError ``not a list of KIND``.

    Lists of more than 20,000 objects are refused, too.
    """
    members = as_list(value, what, f"a list of {kind}")
    if len(members) > _MOST_OBJECTS:
        raise UnreadableError(f"more than {_MOST_OBJECTS} {kind}", step=what)
    return [as_object(member, what, f"a list of {kind}") for member in members if member != {}]


def as_text(value: object, what: str) -> str:
    """Return a JSON string no longer than a path may be. Raises UnreadableError for anything else."""
    if not isinstance(value, str):
        raise UnreadableError(f"{_quoted(value)} in place of a text", step=what)
    if len(value) > _LONGEST_TEXT:
        raise UnreadableError(f"a text of {len(value)} characters", step=what)
    return value


def as_address(value: object, what: str) -> IPv4Address | IPv6Address:
    """Return an IP address given as text. Raises UnreadableError for anything else."""
    return _parsed(ip_address, value, what, "an address")


def address(value: object) -> IPv4Address | IPv6Address | None:
    """Return an IP address given as text, without its zone (``fe80::1%eth0``); None for anything else."""
    try:
        return as_address(value.partition("%")[0] if isinstance(value, str) else value, "")
    except UnreadableError:
        return None


def as_interface(value: object, what: str) -> IPv4Interface | IPv6Interface:
    """Return an address with prefix length, given as text. Raises UnreadableError for anything else."""
    return _parsed(ip_interface, value, what, "an address")


def as_prefix(value: object, what: str) -> IPv4Network | IPv6Network:
    """Return a prefix given as text, with host bits cleared. Raises UnreadableError for anything else."""
    return _parsed(_network, value, what, "a prefix")


def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)


def _parsed(parse: Callable[[str], _T], value: object, what: str, kind: str) -> _T:
    try:
        # ipaddress would take an integer for the numeric form of an address.
        if isinstance(value, str) and len(value) <= _LONGEST_ADDRESS:
            return parse(value)
    except ValueError:
        pass
    raise UnreadableError(f"{_quoted(value)} in place of {kind}", step=what)


def require_lines(text: str, what: str, most: int = MOST_LINES) -> None:
    """Raise UnreadableError if a text has more lines than any valid output."""
    if text.count("\n") > most:
        raise UnreadableError(f"more than {most} lines", step=what)


def _quoted(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else f"{text[:39]}…"
