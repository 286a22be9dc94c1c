"""What the hypervisor's filters drop at a NIC, independent of the guest."""

from __future__ import annotations

from typing import Literal

from labrun.inventory.model import Interface, Lab
from labrun.inventory.traffic import FilterRule

__all__ = ["denied"]

Direction = Literal["in", "out"]


def denied(
    lab: Lab,
    nic: Interface | None,
    direction: Direction,
    proto: Literal["tcp", "udp", "icmp"],
    version: int,
    port: int | None = None,
) -> str | None:
    """Return the filter that drops such a packet at a NIC, None if it passes.

    ``direction`` is seen from the guest. ``port`` is the packet's destination port; None stands for a
    reply, which may have any port. Without ARP, or ICMPv6 in its place, neighbours cannot be resolved, so
    nothing passes at all.
    """
    if nic is None or nic.filter is None or nic.filter not in lab.filters:
        return None
    for rule in lab.filters[nic.filter].rules:
        if _cuts_off(rule, version) or _fits(rule, direction, proto, version, port):
            return nic.filter
    return None


def _cuts_off(rule: FilterRule, version: int) -> bool:
    return rule.proto in ("all", "arp" if version == 4 else "icmpv6", f"ipv{version}")


def _fits(rule: FilterRule, direction: Direction, proto: str, version: int, port: int | None) -> bool:
    name = "icmpv6" if proto == "icmp" and version == 6 else proto
    return rule.deny in (direction, "inout") and rule.proto == name and rule.port in (None, port)
