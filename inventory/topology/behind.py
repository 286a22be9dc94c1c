"""Which hosts of a lab sit behind another one, and would be cut off by a mistake there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labrun.inventory.model import Address, Lab, Role
from labrun.inventory.topology.forwarding import Forwarding, forwarding
from labrun.inventory.topology.routing import tables
from labrun.inventory.topology.wiring import Version, per_lab, wiring

__all__ = ["Lead", "behind", "carries_others"]

_VERSIONS: tuple[Version, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class Lead:
    """How the kernel under labrun reaches a host's ``address``.

    ``via`` is the first next hop, None if the host is on-link. ``source`` is the source address of the
    packets. ``known`` is False if the kernel did not say.
    """

    address: Address
    via: Address | None = None
    source: Address | None = None
    known: bool = True


def carries_others(lab: Lab, host: str) -> bool:
    """Tell whether other hosts may depend on this one: it is a router, or a next hop of another host."""
    if lab.hosts[host].role is Role.ROUTER:
        return True
    return any(_routed_by(lab, version, host) for version in _VERSIONS)


def behind(lab: Lab, host: str, leads: Mapping[str, Lead]) -> tuple[str, ...]:
    """Return the hosts whose path from labrun, or back to it, runs through ``host``, in file order.

    ``leads`` tells how each host with an address is reached. If the file does not say where packets enter
    the lab, every path it knows counts: asking one host too many whether it still answers is better than
    missing one.
    """
    if not carries_others(lab, host):
        return ()
    return tuple(
        name for name in lab.hosts if name != host and name in leads and _leads_over(lab, host, name, leads)
    )


def _leads_over(lab: Lab, host: str, target: str, leads: Mapping[str, Lead]) -> bool:
    lead = leads[target]
    if lead.known and lead.via is None:
        return False
    ways = _ways(lab, 4 if lead.address.version == 4 else 6)
    if lead.source is not None and host in ways.nodes(target, lead.source):
        return True
    entry = ways.owner(lead.via, leads) if lead.via is not None else None
    goal = ways.address_of(target, lead.address)
    if entry is not None:
        return entry == host or (goal is not None and host in ways.nodes(entry, goal))
    return ways.is_exit_of(host, target) or (goal is not None and ways.any_router_passes(host, target, goal))


class _Ways:
    """The file's routes of one IP version, followed as far as they lead; results are cached."""

    def __init__(self, lab: Lab, version: Version) -> None:
        self._lab = lab
        self._version = version
        self._wires = wiring(lab, version)
        self._forwarding: Forwarding = forwarding(lab, version)
        self._known: dict[tuple[str, Address], tuple[str, ...]] = {}

    def owner(self, address: Address, leads: Mapping[str, Lead]) -> str | None:
        """Return the host with this address, either by the file or because labrun reaches it there."""
        if address in self._wires.owner:
            return self._wires.owner[address]
        return next((name for name, lead in leads.items() if lead.address == address), None)

    def address_of(self, target: str, reached_at: Address) -> Address | None:
        """Return an address of the target that the file knows, preferably the one where it is reached."""
        own = [there.address for there in self._wires.of[target]]
        return reached_at if reached_at in own else next(iter(own), None)

    def nodes(self, start: str, to: Address) -> tuple[str, ...]:
        """Return the hosts that forward from ``start`` towards an address, up to it or to the lab's edge."""
        if (start, to) not in self._known:
            self._known[start, to] = self._follow(start, to)
        return self._known[start, to]

    def _follow(self, start: str, to: Address) -> tuple[str, ...]:
        passed: list[str] = []
        node = start
        while self._wires.owner.get(to) != node:
            route = self._forwarding.chosen(node, to)
            if route is None:
                break
            following = self._wires.holder.get((route.network, to if route.via is None else route.via))
            if following is None or following not in self._lab.hosts or following in (start, *passed):
                break
            node = following
            passed.append(node)
        return tuple(passed[:-1] if self._wires.owner.get(to) == node else passed)

    def is_exit_of(self, host: str, target: str) -> bool:
        """Tell whether the host is the way out of a network that the target is on."""
        if self._lab.hosts[host].role is not Role.ROUTER and not _routed_by(self._lab, self._version, host):
            return False
        return self._wires.shared(target, host) is not None

    def any_router_passes(self, host: str, target: str, to: Address) -> bool:
        """Tell whether any router's path to the target runs through the host."""
        others = (name for name in self._wires.routers if name not in (host, target))
        return any(host in self.nodes(name, to) for name in others)


def _routed_by(lab: Lab, version: Version, host: str) -> bool:
    used = _used(lab, version)
    return any((there.network, there.address) in used for there in wiring(lab, version).of[host])


@per_lab
def _used(lab: Lab, version: Version) -> frozenset[tuple[str, Address]]:
    """Return the network and address of every next hop in use."""
    every = (route for table in tables(lab, version).values() for route in table)
    return frozenset((route.network, route.via) for route in every if route.via is not None)


@per_lab
def _ways(lab: Lab, version: Version) -> _Ways:
    return _Ways(lab, version)
