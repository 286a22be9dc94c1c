"""How packets travel one way, from node to node: a pure function of the lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from labrun.inventory.kernel_values import value_of
from labrun.inventory.model import Address, Host, Lab, Mode, Prefix, Role
from labrun.inventory.topology.flows import hidden
from labrun.inventory.topology.longest_prefix import Fib
from labrun.inventory.topology.nic_filters import Direction, Frame, refused
from labrun.inventory.topology.path_model import Disposition, ForwardPath
from labrun.inventory.topology.routing import Route, tables
from labrun.inventory.topology.wiring import HYPERVISOR_NODE, Attachment, L3Topology, Version, per_lab, wiring

__all__ = ["Forwarding", "forwarding"]


@dataclass(frozen=True, slots=True)
class _Packet:
    """A packet's source and destination; also as integers, which are much faster to look up."""

    to: Address
    sender: Address
    answer: bool
    goes: int
    came: int


@dataclass(frozen=True, slots=True)
class _Hop:
    """One step of a packet: the network, the node there that gets it, and the NICs of both."""

    network: str
    following: str
    leaves: str
    enters: str


class Forwarding:
    """How packets travel in one IP version of a lab, node by node; lookups are cached."""

    def __init__(self, lab: Lab, version: Version) -> None:
        self._lab = lab
        self._wires: L3Topology = wiring(lab, version)
        self._version = version
        self._longest = {name: Fib(table) for name, table in tables(lab, version).items()}
        self._filters = {name: _reverse_path(host, version) for name, host in lab.hosts.items()}
        self._hidden = {
            name: hidden(lab, host, version) for name, host in lab.hosts.items() if host.nat is not None
        }
        self._filtered = {
            (name, nic.name): nic
            for name, host in lab.hosts.items()
            for nic in host.interfaces
            if nic.filter is not None
        }
        self._open = frozenset(name for name in self._wires.routers if self._takes_all(name))
        self._trails: dict[tuple[str, int, int, bool, bool], ForwardPath] = {}
        self._hops: dict[tuple[str, int], _Hop | Disposition] = {}

    def chosen(self, node: str, address: Address) -> Route | None:
        """Return the route that a host uses to reach the address, None if there is no route."""
        return self._longest[node].find(int(address))

    def sends_from(self, node: str, towards: Address) -> Attachment | None:
        """Return the NIC whose address is the source of packets to ``towards``."""
        route = self.chosen(node, towards)
        if route is None:
            return None
        return next((own for own in self._wires.of[node] if own.name == route.nic), None)

    def trail(
        self, start: str, to: Address, sender: Address, *, answer: bool = False, echo: bool = True
    ) -> ForwardPath:
        """Return how a request, or an ``answer``, travels; a masquerading router changes a request's source.

        Without ``echo``, filters on the way do not count: they are about echo requests here.
        """
        filtered = echo and bool(self._filtered)
        key = (start, int(to), int(sender), answer, filtered)
        known = self._trails.get(key)
        if known is None:
            packet = _Packet(to, sender, answer, key[1], key[2])
            known = self._trails[key] = self._walk(start, packet, filtered=filtered)
        return known

    def homeward(
        self,
        start: str,
        sender: Address,
        there: ForwardPath,
        own: Address,
        place: int | None = None,
        *,
        echo: bool = True,
    ) -> tuple[tuple[tuple[str, Address], ...], Disposition | None]:
        """Return each node that forwards a reply and its destination there, and where the reply ends if lost.

        The first entry is the node that replies: the trail's destination, or ``place`` among its nodes. A
        router that masquerades receives the reply and passes it on; ``own`` is the original source address.
        ``echo`` as for :meth:`trail`.
        """
        senders = there.senders[: len(there.nodes) + 1 if place is None else place + 1] or (own,)
        steps: list[tuple[str, Address]] = []
        for at in range(len(senders) - 1, -1, -1):
            if at and senders[at] == senders[at - 1]:
                continue
            trail = self.trail(start, senders[at], sender, answer=True, echo=echo)
            steps += [(node, senders[at]) for node in (start, *trail.nodes)]
            if trail.fault is not None:
                return tuple(steps), trail.fault
            start = there.nodes[at - 1] if at else start
        return tuple(steps), None

    def _walk(self, start: str, packet: _Packet, *, filtered: bool) -> ForwardPath:
        goal, first = self._wires.owner[packet.to], packet.sender
        node, came = start, None
        nodes: list[str] = []
        hops: list[_Hop] = []
        senders: list[Address] = []
        passed = {start}
        fault: Disposition | None = None
        while node != goal:
            hop = self._leave(node, came, packet)
            if isinstance(hop, Disposition):
                fault = hop
                break
            hops.append(hop)
            if node in self._hidden and not packet.answer:
                packet = self._masqueraded(node, hop.leaves, packet)
            senders.append(packet.sender)
            fault = self._kept(node, hop, packet) if filtered else None
            if fault is not None:
                break
            if hop.following in passed:
                fault = Disposition(hop.following, f"packets to {self._name(packet.to)} go round in a loop")
                break
            node, came = hop.following, hop.enters
            if node != goal:
                nodes.append(node)
                passed.add(node)
        if fault is None and came is not None and not self._accepts(node, came, packet):
            fault = Disposition(node, f"no route back to {self._name(packet.sender)}")
        changed = any(each != first for each in senders)
        return ForwardPath(
            tuple(nodes),
            tuple(hop.network for hop in hops),
            fault,
            tuple(senders) if changed else (),
            tuple((hop.leaves, hop.enters) for hop in hops),
        )

    def _kept(self, node: str, hop: _Hop, packet: _Packet) -> Disposition | None:
        """Return the hypervisor filter that refuses echo traffic between one NIC and the next, if any."""
        frame = Frame("icmp", packet.sender, packet.to, answers=packet.answer)
        sides: tuple[tuple[str, str, Direction], ...] = (
            (node, hop.leaves, "out"),
            (hop.following, hop.enters, "in"),
        )
        for name, nic, direction in sides:
            found = refused(self._lab, self._filtered.get((name, nic)), direction, frame)
            if found is not None:
                does = "rejects" if found.action == "reject" else "drops"
                return Disposition(
                    HYPERVISOR_NODE, f"the filter {found.filter} {does} it at {name}'s NIC on {nic}"
                )
        return None

    def _masqueraded(self, node: str, leaves: str, packet: _Packet) -> _Packet:
        """Return the packet as it leaves a router: with the router's address if it masquerades the source."""
        subnets = self._hidden[node]
        everything = any(subnet.prefixlen == 0 for subnet in subnets)
        if not _within(packet.sender, subnets) or (_within(packet.to, subnets) and not everything):
            return packet
        own = next((own.address for own in self._wires.of[node] if own.name == leaves), None)
        return packet if own is None else replace(packet, sender=own, came=int(own))

    def _leave(self, node: str, came: str | None, packet: _Packet) -> _Hop | Disposition:
        """Return a node's next hop, or the fault that drops the packet there; ``came`` = NIC it came by."""
        key = (node, packet.goes)
        known = self._hops.get(key)
        if known is not None and (came is None or node in self._open):
            return known
        if node == HYPERVISOR_NODE:
            return self._across_hypervisor(came, packet.to, packet.sender, packet.answer)
        if came is not None:
            if self._lab.hosts[node].role is not Role.ROUTER:
                return Disposition(node, "does not forward")
            if not self._accepts(node, came, packet):
                return Disposition(node, f"no route back to {self._name(packet.sender)}")
        if known is None:
            known = self._hops[key] = self._next_hop(node, packet.to)
        return known

    def _next_hop(self, node: str, to: Address) -> _Hop | Disposition:
        route = self.chosen(node, to)
        if route is None:
            return self.no_route(node, to)
        if route.kind != "unicast":
            return Disposition(node, f"a {route.kind} route to {route.prefix}")
        neighbour = route.via if route.via is not None else to
        following = self._wires.holder.get((route.network, neighbour))
        if following is None:
            what = f"no host has {neighbour} on {route.network}"
            return Disposition(node, what, outside=self._lab.networks[route.network].is_beyond)
        enters = self._wires.nic_with.get((route.network, neighbour), route.network)
        return _Hop(route.network, following, route.nic, enters)

    def _accepts(self, node: str, came: str, packet: _Packet) -> bool:
        """Tell whether rp_filter accepts a packet: 2 requires any route back, 1 a route by the same NIC."""
        strictness = self._filters.get(node, 0)
        if strictness == 0:
            return True
        route = self._longest[node].find(packet.came)
        return route is not None and (strictness == 2 or route.nic == came)

    def _takes_all(self, router: str) -> bool:
        """Tell whether a router accepts packets from every lab address on every NIC."""
        if self._filters[router] == 1:
            return False
        subnets = {there.prefix for members in self._wires.on.values() for there in members}
        routes = ((subnet, self.chosen(router, subnet.network_address)) for subnet in subnets)
        return self._filters[router] == 0 or all(
            route is not None and route.prefix.prefixlen <= subnet.prefixlen for subnet, route in routes
        )

    def _across_hypervisor(
        self, came: str | None, to: Address, sender: Address, answer: bool
    ) -> _Hop | Disposition:
        """Follow libvirt's rules: which of its networks may open connections to which."""
        network = self.network_of_hypervisor(to)
        if network is None:
            what = f"no route to {self._name(to)} inside the lab"
            return Disposition(HYPERVISOR_NODE, what, outside=self._is_beyond(to))
        if came is not None:
            first, last = (network, came) if answer else (came, network)
            asking, asked = self._lab.networks[first].mode, self._lab.networks[last].mode
            if not asking.has_uplink or asked not in (Mode.ROUTE, Mode.OPEN):
                return Disposition(HYPERVISOR_NODE, f"libvirt lets nothing from {first} into {last}")
            # Replies pass wherever the request did.
            if not answer and asking is not Mode.OPEN and sender not in (self._wires.prefix_of(first) or ()):
                return Disposition(HYPERVISOR_NODE, f"libvirt lets only {first}'s own addresses out of it")
        enters = self._wires.nic_with.get((network, to), network)
        return _Hop(network, self._wires.owner[to], network, enters)

    def network_of_hypervisor(self, address: Address) -> str | None:
        """Return the network with the hypervisor on it that an address belongs to, None if there is none."""
        return next((n for n in self._wires.hypervisor if address in (self._wires.prefix_of(n) or ())), None)

    def _is_beyond(self, address: Address) -> bool:
        """Tell whether an address is on a network to which the hypervisor may have a way of its own."""
        networks = self._lab.networks.items()
        return any(net.is_beyond and address in (self._wires.prefix_of(name) or ()) for name, net in networks)

    def no_route(self, node: str, to: Address) -> Disposition:
        """Return the fault of a node that has no route to an address."""
        # The server that gives a NIC its address may give it routes, too.
        host = self._lab.hosts.get(node)
        led = host is not None and any(
            nic.leases(self._version) and not nic.of(self._version) for nic in host.interfaces
        )
        return Disposition(node, f"no route to {self._name(to)}", outside=led)

    def _name(self, address: Address) -> Prefix:
        """Name an address by its lab network, so that one fault reads the same for all targets."""
        owner = self._wires.owner.get(address)
        own = next((a for a in self._wires.of[owner] if a.address == address), None) if owner else None
        if own is not None:
            return own.prefix
        return IPv4Network(address) if address.version == 4 else IPv6Network(address)


def _within(address: Address, subnets: Sequence[Prefix]) -> bool:
    return any(address in subnet for subnet in subnets)


def _reverse_path(host: Host, version: Version) -> int:
    """Return the rp_filter value that labrun sets: that of a router, 2 unless the file sets another."""
    if version == 6 or host.role is not Role.ROUTER:
        return 0
    values = (
        value_of(host.sysctl, f"net.ipv4.conf.{which}.rp_filter") or "2" for which in ("all", "default")
    )
    # The kernel uses the greater of `all` and the NIC's value.
    return max((int(value) if value.strip() in ("0", "1", "2") else 2) for value in values)


@per_lab
def forwarding(lab: Lab, version: Version) -> Forwarding:
    """Return how packets travel in the lab; cached per lab."""
    return Forwarding(lab, version)
