"""The model of declared checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Literal

__all__ = ["Check", "Match"]


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions on a text: all given ones must hold, each for the value that ``json`` points at.

    ``json`` is a path such as ``routes[0].gateway``, None = the text itself; ``regex`` is searched for.
    """

    contains: str | None = None
    regex: str | None = None
    equals: str | None = None
    json: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A declared check; ``kind`` is its verb (ping, tcp, …), ``target`` that verb's value as text.

    ``source`` and ``to`` are as written: a host, a network, ``@group``, ``to`` also an address. ``via`` are
    hosts or addresses that a trace passes in this order. ``values`` are the expected sysctl or sshd values.
    ``match`` applies to the output of exec or the body of http. ``status`` is that of exec (None = 0) or
    http (None = 200 to 399), ``answer`` the address that dns must return.
    """

    name: str
    source: str
    to: str | None
    kind: str
    target: str
    expect: str = "open"
    wait: str | None = None
    level: Literal["error", "warning"] = "error"
    via: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=_nothing)
    match: Match | None = None
    status: int | None = None
    answer: IPv4Address | IPv6Address | None = None
