"""The model of what hosts and the hypervisor let through, and of what routers translate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Filter", "FilterRule", "Firewall", "FirewallRule", "Forward", "HypervisorForward", "Nat"]


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
    """Masqueraded networks and port forwards of a router.

    ``masquerade_all`` = whatever it forwards leaves with its own address, one network or several.
    """

    masquerade: tuple[str, ...] = ()
    forward: tuple[Forward, ...] = ()
    masquerade_all: bool = False


@dataclass(frozen=True, slots=True)
class HypervisorForward:
    """One port of the hypervisor that leads to ``to_port`` of a lab host or address on a network."""

    port: int
    to: str
    to_port: int
    proto: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True)
class FilterRule:
    """One rule that the hypervisor enforces; ``direction`` is seen from the guest.

    ``ports`` are the destination's, empty = any. ``source``/``to`` are a network, host or prefix as written,
    None = any. ``log`` = what the rule refuses is recorded.
    """

    direction: Literal["in", "out", "inout"]
    proto: str = "tcp"
    ports: tuple[tuple[int, int], ...] = ()
    action: Literal["deny", "reject", "allow"] = "deny"
    source: str | None = None
    to: str | None = None
    log: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """A named list of rules for NICs; the first rule that matches decides, and what none matches passes."""

    name: str
    rules: tuple[FilterRule, ...]

    @property
    def keeps_state(self) -> bool:
        """Tell whether it judges connections, so that answers pass; otherwise each packet for itself."""
        return any(rule.action != "deny" for rule in self.rules)

    @property
    def needs_nftables(self) -> bool:
        """Tell whether libvirt's own filters cannot express it."""
        return self.keeps_state or any(rule.log for rule in self.rules)
