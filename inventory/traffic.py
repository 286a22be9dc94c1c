"""The model of what hosts and the hypervisor let through, and of what routers translate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Filter", "FilterRule", "Firewall", "FirewallRule", "Forward", "Nat"]


@dataclass(frozen=True, slots=True)
class FirewallRule:
    """One accepted flow; ``source``/``to`` are a network, host or prefix as written, None = any."""

    proto: Literal["tcp", "udp", "icmp"] = "tcp"
    ports: tuple[tuple[int, int], ...] = ()
    source: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Firewall:
    """Policies and accepted flows of a host's firewall."""

    input: Literal["accept", "drop"] = "accept"
    forward: Literal["accept", "drop"] = "accept"
    ssh: bool = True
    allow: tuple[FirewallRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Forward:
    """One port forward: ``to`` is ``HOST-or-address`` and ``to_port`` the port there."""

    on: str
    port: int
    to: str
    to_port: int
    proto: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True)
class Nat:
    """Masqueraded networks and port forwards of a router."""

    masquerade: tuple[str, ...] = ()
    forward: tuple[Forward, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterRule:
    """One rule that the hypervisor enforces; ``deny`` is the direction seen from the guest."""

    deny: Literal["in", "out", "inout"]
    proto: str = "tcp"
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """A named list of rules for NICs (libvirt nwfilter)."""

    name: str
    rules: tuple[FilterRule, ...]
