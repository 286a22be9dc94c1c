"""NICs as the kernel has them, whoever manages them: MTU, addresses and routes of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from typing import Protocol

from labrun.inventory.route_patterns import RoutePattern
from labrun.tasks.guest.facts.links import Link, links
from labrun.tasks.guest.facts.routes import ObservedRoute, routes
from labrun.tasks.guest.keyfile import Hop
from labrun.tasks.guest.shell import Facts

__all__ = ["IPV6_SWITCHES", "ManagedNic", "Nic", "nics_of", "without_ipv6"]

IPV6_SWITCHES = "/proc/sys/net/ipv6/conf/*/disable_ipv6"
_NO_IPV6 = re.compile(r"/proc/sys/net/ipv6/conf/[^/]+/disable_ipv6")


class ManagedNic(Protocol):
    """What the manager of a NIC reports of it beyond the kernel's state.

    ``profile`` identifies the settings in force, ``profile_id`` is their name for people. ``searches`` are
    the domains that names are looked up in, None if the manager does not say.
    """

    @property
    def profile(self) -> str | None: ...

    @property
    def profile_id(self) -> str: ...

    @property
    def is_up(self) -> bool: ...

    @property
    def interface(self) -> str: ...

    @property
    def dns(self) -> tuple[str, ...]: ...

    @property
    def searches(self) -> tuple[str, ...] | None: ...


@dataclass(frozen=True, slots=True)
class Nic:
    """One NIC as the kernel has it, with its routes and their origin (``proto``).

    ``lasting`` are the addresses without a lifetime, ``metrics`` those of each route.
    """

    mtu: int
    addresses: frozenset[IPv4Interface | IPv6Interface]
    lasting: frozenset[IPv4Interface | IPv6Interface]
    routes: Mapping[Hop, str]
    metrics: Mapping[Hop, frozenset[int]] = field(default_factory=dict)


def without_ipv6(facts: Facts) -> frozenset[str]:
    """Return the NICs on which the kernel has IPv6 switched off, as far as :data:`IPV6_SWITCHES` was read."""
    off = (path for path, text in facts.files.items() if _NO_IPV6.fullmatch(path) and text.strip() == "1")
    return frozenset(path.split("/")[-2] for path in off)


def nics_of(facts: Facts, ignored: tuple[RoutePattern, ...] = ()) -> dict[str, Nic]:
    """Return the NICs by interface, without the routes that the lab file tells labrun to leave alone.

    Raises CommandError, UnreadableError.
    """
    by_device = _routes_by_device(facts, ignored)
    return {link.name: _nic(link, by_device.get(link.name, ())) for link in links(facts)}


def _nic(link: Link, found: Iterable[ObservedRoute]) -> Nic:
    by_hop: dict[Hop, str] = {}
    metrics: dict[Hop, frozenset[int]] = {}
    for route in found:
        hop = Hop(route.prefix, route.via)
        by_hop[hop] = route.protocol or "boot"
        metrics[hop] = metrics.get(hop, frozenset()) | {route.metric}
    return Nic(link.mtu or 0, link.addresses, link.lasting, by_hop, metrics)


def _routes_by_device(
    facts: Facts, ignored: tuple[RoutePattern, ...]
) -> Mapping[str, Sequence[ObservedRoute]]:
    by_device: dict[str, list[ObservedRoute]] = {}
    # IPv6 is queried only if a resource needs it.
    for version in (4, 6) if "route6" in facts.commands else (4,):
        for route in routes(facts, version):
            passes_by = route.prefix.is_link_local or route.prefix.is_multicast
            if route.device and route.kind == "unicast" and not (passes_by or route.fits(ignored)):
                by_device.setdefault(route.device, []).append(route)
    return by_device
