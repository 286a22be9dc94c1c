"""Values as JSON and back: plain data, addresses, and the frozen values of labrun's that are named here.

A mapping with words as keys is a JSON object. Every other type that JSON lacks, and a list, is a list whose
first item names the type. What is read can only become one of these types, and nothing is called but their
constructors.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from types import MappingProxyType
from typing import Any, Final

__all__ = ["NAMED", "decode", "encode", "from_line", "to_line"]

_MESSAGES: Final = "labrun.runner.engine.shards.messages"
NAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: module
        for module, names in {
            _MESSAGES: "Failure HostOutcome HostSpec Limits Progress Shard TaskRef Versions",
            "labrun.outcome": "Fault Nic Outcome Pair Status",
            "labrun.inventory.check_model": "Match",
            "labrun.tasks.collect.check_spec": "CheckSpec",
            "labrun.tasks.collect.collect_spec": "CollectSpec PingSpec SegmentSpec TraceSpec",
            "labrun.tasks.drift.task": "DriftSpec",
            "labrun.tasks.drift.journal": "Line Logged",
        }.items()
        for name in names.split()
    }
)
"""The classes that travel, with their modules. Each is a frozen dataclass or an enumeration."""
_ADDRESSES: Final = (IPv4Address, IPv6Address, IPv4Interface, IPv6Interface, IPv4Network, IPv6Network)
_PLAIN: Final[Mapping[str, Callable[..., Any]]] = {
    **{kind.__name__: kind for kind in _ADDRESSES},
    "list": lambda *items: list(items),
    "tuple": lambda *items: items,
    "set": lambda *items: set(items),
    "frozenset": lambda *items: frozenset(items),
    "dict": lambda *pairs: dict(pairs),
    "bytes": base64.b64decode,
}


def to_line(value: object) -> bytes:
    """Return a value as one line of JSON with its newline. Raises TypeError for one that must not travel."""
    return json.dumps(encode(value), separators=(",", ":")).encode() + b"\n"


def from_line(line: str | bytes) -> Any:
    """Return the value of such a line. Raises ValueError for any other text."""
    try:
        return decode(json.loads(line))
    except (TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a message: {error}") from error


def encode(value: Any) -> Any:
    """Return a value in the types of JSON. Raises TypeError for one that must not travel."""
    kind: Any = type(value)
    if value is None or kind in (str, int, float, bool):
        return value
    if kind in (dict, MappingProxyType):
        if all(type(key) is str for key in value):
            return {key: encode(each) for key, each in value.items()}
        return ["dict", *(encode(pair) for pair in value.items())]
    if kind in (list, tuple, set, frozenset):
        return [kind.__name__, *map(encode, value)]
    if kind in _ADDRESSES:
        return [kind.__name__, str(value)]
    if kind is bytes:
        return ["bytes", base64.b64encode(value).decode()]
    if NAMED.get(kind.__name__) != kind.__module__:
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} does not travel to workers")
    if issubclass(kind, Enum):
        return [kind.__name__, value.value]
    return [kind.__name__, *(encode(getattr(value, name)) for name in _fields(kind))]


def decode(plain: Any) -> Any:
    """Return what :func:`encode` was given. Raises LookupError, TypeError or ValueError for anything else."""
    if type(plain) is dict:
        return {key: decode(each) for key, each in plain.items()}
    if type(plain) is not list:
        return plain
    name, *parts = plain
    make = _PLAIN.get(name) or _class(name)
    return make(*map(decode, parts))


@cache
def _class(name: str) -> Callable[..., Any]:
    found: type = getattr(import_module(NAMED[name]), name)
    if is_dataclass(found) and any(not field.init for field in fields(found)):
        raise TypeError(f"{name} has a field that is not given to it")
    return found


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
