"""A lab as JSON and back: plain data that can only yield the model's value types.

A mapping is a JSON object. Every other type that JSON lacks is a list whose first item names the type: 0 is
a tuple, else the name of a model class, an enumeration or an address class.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import MappingProxyType
from typing import Any, Final

from labrun.inventory import check_model, model, traffic
from labrun.inventory.model import Lab
from labrun.state_files import parse_json

__all__ = ["lab_from_json", "lab_to_json"]

_TUPLE: Final = 0
_ADDRESSES: Final = (IPv4Address, IPv6Address)
_WITH_PREFIX: Final = (IPv4Interface, IPv6Interface, IPv4Network, IPv6Network)
_MODELS: Final = tuple(
    each
    for module in (model, check_model, traffic)
    for name in module.__all__
    if isinstance(each := getattr(module, name), type) and (is_dataclass(each) or issubclass(each, StrEnum))
)
_FIELDS: Final = {each: tuple(field.name for field in fields(each)) for each in _MODELS if is_dataclass(each)}
_Make = Callable[..., Any]
_OF_NAME: Final[Mapping[object, _Make]] = {
    **{each.__name__: each for each in (*_MODELS, *_ADDRESSES)},
    **{each.__name__: (lambda *parts, kind=each: kind(parts)) for each in _WITH_PREFIX},
    _TUPLE: lambda *items: items,
}


def lab_to_json(lab: Lab) -> str:
    """Return the lab as one line of JSON. Raises TypeError for a value that does not belong in a lab."""
    return json.dumps(_plain(lab), separators=(",", ":"))


def lab_from_json(text: str | bytes) -> Lab:
    """Return the lab that :func:`lab_to_json` wrote. ValueError, TypeError or LookupError for other text."""
    lab = _value(parse_json(text))
    if not isinstance(lab, Lab):
        raise TypeError("this is not a lab")
    return lab


def _plain(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in (str, int, bool):
        return value
    if kind is MappingProxyType or kind is dict:
        return {key: _plain(each) for key, each in value.items()}
    if kind is tuple:
        return [_TUPLE, *map(_plain, value)]
    if kind in _FIELDS:
        return [kind.__name__, *(_plain(getattr(value, name)) for name in _FIELDS[kind])]
    if isinstance(value, StrEnum):
        return [kind.__name__, str(value)]
    if kind in _ADDRESSES:
        return [kind.__name__, int(value)]
    if kind in _WITH_PREFIX:
        address = getattr(value, "ip", None) or value.network_address
        return [
            kind.__name__,
            int(address),
            value.network.prefixlen if hasattr(value, "ip") else value.prefixlen,
        ]
    raise TypeError(f"{kind.__name__} has no place in a lab")


def _value(plain: Any) -> Any:
    kind = type(plain)
    if kind is list:
        what, *parts = plain
        return _OF_NAME[what](*map(_value, parts))
    if kind is dict:
        return MappingProxyType({key: _value(each) for key, each in plain.items()})
    return plain
