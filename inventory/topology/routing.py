"""The route table that each host must show: a pure function of the lab."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Literal

from labrun.inventory.model import Address, Gateway, Host, Interface, Lab, Prefix, Role
from labrun.inventory.topology.nm_properties import NicProperties, nic_properties
from labrun.inventory.topology.wiring import HYPERVISOR_NODE, Attachment, L3Topology, Version, per_lab, wiring

__all__ = ["Origin", "Route", "default_prefix", "derived_routes", "metric_of", "route_table", "tables"]

_Exit = tuple[Address, Attachment]
"""A next hop's address, and the host's NIC that leads there."""
Origin = Literal["connected", "gateway", "static", "topology", "dhcp", "nmcli"]
# NetworkManager's for Ethernet, for routes that the file gives no metric.
_METRIC = 100


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the main table; ``via`` is None if the prefix is connected.

    ``network`` is the lab network that packets leave by, ``nic`` the name of the NIC, by default that of
    the network. ``origin`` is ``dhcp`` for a route that libvirt's
    DHCP or router advertisements announce, so no profile has to carry it, ``nmcli`` for one that only the
    NIC's properties give. ``kind`` is ``unicast`` or another type of ``ip route``; a route that is not
    ``in_main`` stands in another table, where a rule has to look for it. Of several routes to one prefix the
    one with the lowest ``metric`` counts.
    """

    prefix: Prefix
    via: Address | None
    network: str
    origin: Origin
    kind: str = "unicast"
    in_main: bool = True
    metric: int = _METRIC
    nic: str = ""

    def __post_init__(self) -> None:
        if not self.nic:
            object.__setattr__(self, "nic", self.network)


def default_prefix(version: Version) -> Prefix:
    """Return the default prefix, 0.0.0.0/0 or ::/0."""
    return IPv4Network("0.0.0.0/0") if version == 4 else IPv6Network("::/0")


def route_table(lab: Lab, host_name: str) -> tuple[Route, ...]:
    """Return every route the host must have: IPv4 first, each version's default route at the top.

    Raises KeyError if the lab has no such host.
    """
    return tables(lab, 4)[host_name] + tables(lab, 6)[host_name]


def derived_routes(lab: Lab, host_name: str) -> tuple[Route, ...]:
    """Return the host's routes without what the NICs' ``nmcli:`` properties change. Raises KeyError."""
    return _derived(lab, 4)[host_name] + _derived(lab, 6)[host_name]


@per_lab
def tables(lab: Lab, version: Version) -> Mapping[str, tuple[Route, ...]]:
    """Return the route tables of all hosts in one IP version; cached per lab."""
    derived = _derived(lab, version)
    return MappingProxyType(
        {
            name: _with_properties(host, derived[name], version)
            if any(nic.nmcli for nic in host.interfaces)
            else derived[name]
            for name, host in lab.hosts.items()
        }
    )


@per_lab
def _derived(lab: Lab, version: Version) -> Mapping[str, tuple[Route, ...]]:
    wires = wiring(lab, version)
    defaults = _Defaults(wires)
    towards = _topology(wires) if lab.routing == "auto" else {}
    built = {}
    for name in lab.hosts:
        connected = _connected(wires, name)
        # Later entries win: declared routes override derived ones.
        ways = (*towards.get(name, ()), *defaults.routes(name), *_declared(wires, name))
        table = {route.prefix: route for route in ways}
        for route in connected:
            table.pop(route.prefix, None)
        found = _with_metrics(lab.hosts[name], (*table.values(), *connected))
        built[name] = tuple(sorted(found, key=_order))
    return MappingProxyType(built)


def _connected(wires: L3Topology, name: str) -> tuple[Route, ...]:
    """Return the routes to the host's own subnets: the kernel has one for each NIC there."""
    own = (Route(each.prefix, None, each.network, "connected", nic=each.name) for each in wires.of[name])
    return tuple(dict.fromkeys(own))


def metric_of(host: Host, nic: Interface) -> int:
    """Return the metric of a NIC's routes: packets to a network leave by the first of the NICs on it.

    NetworkManager gives Ethernet 100, and each further device of a host one more, in the order in which
    they come up; so those of the second NIC on a network have to be far above that.
    """
    return _METRIC * (1 + host.nics_on(nic.network).index(nic))


def _with_metrics(host: Host, routes: Iterable[Route]) -> Iterator[Route]:
    metrics = {nic.name: metric_of(host, nic) for nic in host.interfaces}
    for route in routes:
        metric = metrics.get(route.nic, _METRIC)
        yield route if route.metric == metric else replace(route, metric=metric)


def _with_properties(host: Host, derived: tuple[Route, ...], version: Version) -> tuple[Route, ...]:
    """Return the routes as the profiles give them once nmcli has set the properties."""
    found: list[Route] = []
    for nic in host.interfaces:
        own = [route for route in derived if route.nic == nic.name]
        said = nic_properties(nic, version)
        found += _of_profile(nic, own, said, metric_of(host, nic)) if nic.nmcli else own
    known = {nic.name for nic in host.interfaces}
    found += [route for route in derived if route.nic not in known]
    return tuple(sorted(dict.fromkeys(found), key=_order))


def _of_profile(
    nic: Interface, derived: Sequence[Route], properties: NicProperties, usual: int
) -> Iterator[Route]:
    """Yield a NIC's routes; ``usual`` is their metric if the file gives none."""
    if properties.has_none:
        return
    usual = usual if properties.metric is None else properties.metric
    in_main = not properties.is_elsewhere
    for route in derived:
        is_default = route.prefix.prefixlen == 0
        if route.origin == "connected":
            kept = properties.addresses is None and not (nic.dhcp and properties.method == "manual")
        elif route.origin == "dhcp":
            kept = not properties.has_no_default and not properties.ignores_announced
        elif is_default and not nic.dhcp:
            kept = properties.gateway is None and not properties.has_no_default
        else:
            # Beside DHCP a profile has its default route among the others.
            kept = properties.routes is None and not (is_default and properties.has_no_default)
        if kept:
            yield replace(route, in_main=route.in_main and in_main, metric=usual)
    for address in properties.addresses or ():
        if address.network.num_addresses > 1:
            yield Route(address.network, None, nic.network, "connected", "unicast", in_main, usual, nic.name)
    if properties.gateway is not None and not properties.has_no_default:
        everything = default_prefix(4 if properties.gateway.version == 4 else 6)
        via = properties.gateway
        yield Route(everything, via, nic.network, "nmcli", "unicast", in_main, usual, nic.name)
    for given in properties.routes or ():
        metric = usual if given.metric is None else given.metric
        yield Route(given.prefix, given.via, nic.network, "nmcli", given.kind, in_main, metric, nic.name)


def _order(route: Route) -> tuple[bool, int, int, int]:
    prefix = route.prefix
    return prefix.prefixlen > 0, int(prefix.network_address), prefix.prefixlen, route.metric


def _declared(wires: L3Topology, name: str) -> Iterator[Route]:
    for route in wires.lab.hosts[name].routes:
        own = wires.on_link(name, route.via, route.nic) if route.to.version == wires.version else None
        if own is not None:
            yield Route(route.to, route.via, own.network, "static", nic=own.name)


class _Defaults:
    """Where each host's default route points, by ``gateway:`` and the derived rules."""

    def __init__(self, wires: L3Topology) -> None:
        self._wires = wires
        exits = tuple(name for name in wires.routers if self._leaves_directly(name))
        self._distance = _distances(wires, exits)

    def routes(self, name: str) -> Iterator[Route]:
        """Yield the host's default route, or nothing if it has none."""
        target = self._gateway(name)
        if target is None:
            return
        via, own = target
        origin: Origin = "dhcp" if self._announces(own, via) else "gateway"
        yield Route(default_prefix(self._wires.version), via, own.network, origin, nic=own.name)

    def _announces(self, own: Attachment, via: Address) -> bool:
        """Tell whether the NIC learns this gateway from libvirt."""
        wires, nic, network = self._wires, own.nic, own.network
        where = wires.lab.networks[network]
        if wires.version == 6 and not nic.ipv6_method:
            return False
        if wires.version == 4 and (not nic.dhcp or where.dhcp is None):
            return False
        return where.mode.has_uplink and wires.hypervisor.get(network) == via

    def _gateway(self, name: str) -> _Exit | None:
        host = self._wires.lab.hosts[name]
        asked = host.gateway
        if asked.kind == "none":
            return None
        if asked.kind == "auto":
            return self._router_auto(name) if host.role is Role.ROUTER else self._host_auto(name)
        return self._explicit(name, asked)

    def _explicit(self, name: str, asked: Gateway) -> _Exit | None:
        wires = self._wires
        if asked.host is not None:
            return _at(wires, name, wires.shared(name, asked.host))
        if asked.address is None:
            return None
        if asked.address.version == wires.version:
            own = wires.on_link(name, asked.address, asked.nic)
            return (asked.address, own) if own is not None else None
        return self._counterpart(name, asked.address, asked.nic)

    def _counterpart(self, name: str, address: Address, nic: str | None) -> _Exit | None:
        """Find the other IP version's address of the node behind a gateway given as an address."""
        wires = self._wires
        other = wiring(wires.lab, 4 if wires.version == 6 else 6)
        found = other.on_link(name, address, nic)
        holder = other.holder.get((found.network, address)) if found is not None else None
        own = next((a for a in wires.of[name] if found is not None and a.network == found.network), None)
        if own is None or holder is None:
            return None
        if holder == HYPERVISOR_NODE:
            there = wires.hypervisor.get(own.network)
            return (there, own) if there is not None else None
        return next(((a.address, own) for a in wires.of[holder] if a.network == own.network), None)

    def _host_auto(self, name: str) -> _Exit | None:
        wires = self._wires
        first = wires.lab.hosts[name].interfaces[0].network if wires.lab.hosts[name].interfaces else None
        found: dict[str, tuple[bool, int]] = {}
        for own in wires.of[name]:
            for there in wires.routers_on[own.network]:
                rank = (own.network != first, wires.routers[there.host])
                found[there.host] = min(rank, found.get(there.host, rank))
        if found:
            return _at(wires, name, wires.shared(name, min(found, key=lambda router: found[router])))
        return self._uplink(name)

    def _router_auto(self, name: str) -> _Exit | None:
        own = self._uplink(name)
        if own is not None:
            return own
        return _at(self._wires, name, _closer(self._wires, name, self._distance))

    def _uplink(self, name: str) -> _Exit | None:
        """Return the hypervisor on the first of the host's networks that it forwards for."""
        wires = self._wires
        for own in wires.of[name]:
            if wires.lab.networks[own.network].mode.has_uplink and own.network in wires.hypervisor:
                return wires.hypervisor[own.network], own
        return None

    def _leaves_directly(self, name: str) -> bool:
        asked = self._wires.lab.hosts[name].gateway
        if asked.kind == "auto":
            return self._uplink(name) is not None
        target = self._explicit(name, asked) if asked.kind == "address" else None
        if target is None:
            return False
        via, own = target
        return self._wires.lab.networks[own.network].mode.has_uplink and (
            self._wires.hypervisor.get(own.network) == via
        )


def _at(wires: L3Topology, name: str, there: Attachment | None) -> _Exit | None:
    """Return the way to a neighbour: its address, and the first NIC of the host on that network."""
    own = next((own for own in wires.of[name] if there is not None and own.network == there.network), None)
    return None if there is None or own is None else (there.address, own)


def _distances(wires: L3Topology, start: tuple[str, ...]) -> Mapping[str, int]:
    """Count the networks between each router and the nearest of ``start``, through routers only."""
    distance = dict.fromkeys(start, 0)
    seen: set[str] = set()
    edge = list(start)
    while edge:
        following = []
        for router in edge:
            for own in wires.of[router]:
                if own.network in seen:
                    continue
                seen.add(own.network)
                for there in wires.routers_on[own.network]:
                    if there.host not in distance:
                        distance[there.host] = distance[router] + 1
                        following.append(there.host)
        edge = following
    return distance


def _closer(wires: L3Topology, name: str, distance: Mapping[str, int]) -> Attachment | None:
    """Return the NIC of the neighbour one hop nearer; on a tie, the first in file order."""
    here = distance.get(name)
    if not here:
        return None
    nearer = {
        there.host
        for own in wires.of[name]
        for there in wires.routers_on[own.network]
        if distance.get(there.host) == here - 1
    }
    return wires.shared(name, min(nearer, key=lambda router: wires.routers[router]))


def _topology(wires: L3Topology) -> Mapping[str, list[Route]]:
    """Give every router a route to every network it is not attached to, through the fewest networks."""
    towards: dict[str, list[Route]] = {name: [] for name in wires.routers}
    for network in wires.lab.networks:
        prefix = wires.prefix_of(network)
        if prefix is None:
            continue
        touching = tuple(there.host for there in wires.routers_on[network])
        distance = _distances(wires, touching)
        for name in wires.routers:
            there = _closer(wires, name, distance)
            if there is not None:
                own = next(each for each in wires.of[name] if each.network == there.network)
                towards[name].append(Route(prefix, there.address, there.network, "topology", nic=own.name))
    return towards
