"""The hops that a traceroute between two hosts must show: a pure function of the lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from labrun.inventory.kernel_values import value_of
from labrun.inventory.model import Address, Host, Lab, Mode, Prefix, Role
from labrun.inventory.topology.eui64 import link_local
from labrun.inventory.topology.flows import hidden
from labrun.inventory.topology.longest_prefix import Fib
from labrun.inventory.topology.nic_filters import Direction, Frame, refused
from labrun.inventory.topology.path_model import Disposition, ForwardPath, Path, RoundTrip
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


class Forwarding:
    """How packets travel in one IP version of a lab, hop by hop; lookups are cached."""

    def __init__(self, lab: Lab, version: Version) -> None:
        self._lab = lab
        self._wires: L3Topology = wiring(lab, version)
        self._version = version
        self._tables: Mapping[str, tuple[Route, ...]] = tables(lab, version)
        self._longest = {name: Fib(table) for name, table in self._tables.items()}
        self._filters = {name: _reverse_path(host, version) for name, host in lab.hosts.items()}
        self._hidden = {
            name: hidden(lab, host, version) for name, host in lab.hosts.items() if host.nat is not None
        }
        self._filtered = {
            (name, nic.network): nic
            for name, host in lab.hosts.items()
            for nic in host.interfaces
            if nic.filter is not None
        }
        self._open = frozenset(name for name in self._wires.routers if self._takes_all(name))
        # To a filter that names addresses, hosts in the same position are not alike.
        self._kin = {} if self._tells_hosts_apart() else _kin(self._wires, self._tables)
        self._known: dict[tuple[str, str], RoundTrip] = {}
        self._trails: dict[tuple[str, int, int, bool, bool], ForwardPath] = {}
        self._answers: dict[tuple[str, str, int], Address | None] = {}
        self._hops: dict[tuple[str, int], tuple[str, str] | Disposition] = {}

    def _tells_hosts_apart(self) -> bool:
        names = {nic.filter for nic in self._filtered.values()}
        filters = (each for each in self._lab.filters.values() if each.name in names)
        return any(rule.source or rule.to for each in filters for rule in each.rules)

    def target_address(self, source: str, target: str) -> Address | None:
        """Return the address to trace: on the first common network, else the target's first."""
        shared = self._wires.shared(source, target)
        if shared is not None:
            return shared.address
        theirs = self._wires.of[target]
        return theirs[0].address if theirs else None

    def chosen(self, node: str, address: Address) -> Route | None:
        """Return the route that a host uses to reach the address, None if there is no route."""
        return self._longest[node].find(int(address))

    def path(self, source: str, target: str) -> Path:
        """Return what a traceroute from ``source`` to ``target`` shows, or why nothing gets there."""
        kin = source, target
        if self._wires.of[source] and self._wires.of[target]:
            # Those of a kind may differ in the addresses that they have in the other IP version.
            kin = self._kin.get(source, source), self._kin.get(target, target)
        known = self._known.get(kin)
        if known is None:
            # Trace between the first host of each kind, so that all pairs of these kinds share the trails.
            known = self._known[kin] = self._trace(*(kin if kin[0] != kin[1] else (source, target)))
        if target in self._kin:
            return Path(source, target, self._wires.of[target][0].address, known)
        return Path(source, target, self.target_address(source, target), known)

    def _trace(self, source: str, target: str) -> RoundTrip:
        address = self.target_address(source, target)
        own = None if address is None else self.sends_from(source, address)
        if address is None or own is None:
            return RoundTrip(source, target, fault=self._not_sent(source, target, address))
        there = self.trail(source, address, own.address)
        back, lost = self.homeward(target, address, there, own.address)
        fault = there.fault or lost
        if fault is not None:
            return RoundTrip(source, target, (), there.nodes, tuple(name for name, _ in back[1:]), (), fault)
        answers = tuple(self._answer(place, there, own.address) for place, _ in enumerate(there.nodes))
        redirected = tuple(
            place
            for place, (came, leaves) in enumerate(zip(there.networks, there.networks[1:], strict=False))
            if came == leaves
        )
        seen = tuple(None if each == own.address else each for each in there.senders)
        returns = tuple(None if goal == own.address else goal for _, goal in back) if seen else ()
        through_back = tuple(name for name, _ in back[1:])
        return RoundTrip(source, target, answers, there.nodes, through_back, redirected, None, seen, returns)

    def _not_sent(self, source: str, target: str, address: Address | None) -> Disposition:
        apart = self._wires.apart(source, target)
        if apart is not None or address is None:
            return Disposition(target, apart or "its address is not in the lab file")
        return self._no_route(source, address)

    def sends_from(self, node: str, towards: Address) -> Attachment | None:
        """Return the NIC whose address is the source of packets to ``towards``."""
        route = self.chosen(node, towards)
        if route is None:
            return None
        return next((own for own in self._wires.of[node] if own.network == route.network), None)

    def trail(self, start: str, to: Address, sender: Address, *, echo: bool = True) -> ForwardPath:
        """Return how a request travels; a masquerading router changes its source address.

        Without ``echo``, filters on the way do not count: they are about echo requests here.
        """
        return self._trail(start, to, sender, False, echo)

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
            trail = self._trail(start, senders[at], sender, True, echo)
            steps += [(node, senders[at]) for node in (start, *trail.nodes)]
            if trail.fault is not None:
                return tuple(steps), trail.fault
            start = there.nodes[at - 1] if at else start
        return tuple(steps), None

    def _answer(self, place: int, there: ForwardPath, own: Address) -> Address | None:
        node, came = there.nodes[place], there.networks[place]
        seen = there.senders[place] if there.senders else own
        if seen != own:
            address = self._answering(node, came, seen)
            lost = address is None or self.homeward(node, address, there, own, place)[1] is not None
            return None if lost else address
        key = (node, came, int(own))
        if key not in self._answers:
            self._answers[key] = self._answering(node, came, own)
        return self._answers[key]

    def _answering(self, node: str, came: str, towards: Address) -> Address | None:
        """Return the address that a forwarding node replies to the source with, None if the reply is lost.

        For IPv4, the kernel picks the source of Time Exceeded by its route back to the sender
        (net.ipv4.icmp_errors_use_inbound_ifaddr is 0), not by the incoming NIC. For IPv6, it uses the
        address of the incoming NIC, since Linux 5.5.
        """
        if node == HYPERVISOR_NODE:
            network = came if self._version == 6 else self._connected_to_hypervisor(towards)
            address = self._wires.hypervisor.get(network) if network is not None else None
        elif self._version == 6:
            address = next(own.address for own in self._wires.of[node] if own.network == came)
        else:
            own = self.sends_from(node, towards)
            address = own.address if own is not None else None
        if address is None or self._trail(node, towards, address, True).fault is not None:
            return None
        return address

    def _trail(
        self, start: str, to: Address, sender: Address, answer: bool, echo: bool = True
    ) -> ForwardPath:
        filtered = echo and bool(self._filtered)
        key = (start, int(to), int(sender), answer, filtered)
        known = self._trails.get(key)
        if known is None:
            packet = _Packet(to, sender, answer, key[1], key[2])
            known = self._trails[key] = self._walk(start, packet, filtered=filtered)
        return known

    def _walk(self, start: str, packet: _Packet, *, filtered: bool) -> ForwardPath:
        goal, first = self._wires.owner[packet.to], packet.sender
        node, came = start, None
        nodes: list[str] = []
        networks: list[str] = []
        senders: list[Address] = []
        passed = {start}
        fault: Disposition | None = None
        while node != goal:
            leaves = self._leave(node, came, packet)
            if isinstance(leaves, Disposition):
                fault = leaves
                break
            network, following = leaves
            networks.append(network)
            if node in self._hidden and not packet.answer:
                packet = self._masqueraded(node, network, packet)
            senders.append(packet.sender)
            fault = self._kept(node, following, network, packet) if filtered else None
            if fault is not None:
                break
            if following in passed:
                fault = Disposition(following, f"packets to {self._name(packet.to)} go round in a loop")
                break
            node, came = following, network
            if node != goal:
                nodes.append(node)
                passed.add(node)
        if fault is None and came is not None and not self._accepts(node, came, packet):
            fault = Disposition(node, f"no route back to {self._name(packet.sender)}")
        changed = any(each != first for each in senders)
        return ForwardPath(tuple(nodes), tuple(networks), fault, tuple(senders) if changed else ())

    def _kept(self, node: str, following: str, network: str, packet: _Packet) -> Disposition | None:
        """Return the hypervisor filter that refuses echo traffic between one NIC and the next, if any."""
        frame = Frame("icmp", packet.sender, packet.to, answers=packet.answer)
        sides: tuple[tuple[str, Direction], ...] = ((node, "out"), (following, "in"))
        for name, direction in sides:
            found = refused(self._lab, self._filtered.get((name, network)), direction, frame)
            if found is not None:
                does = "rejects" if found.action == "reject" else "drops"
                return Disposition(
                    HYPERVISOR_NODE, f"the filter {found.filter} {does} it at {name}'s NIC on {network}"
                )
        return None

    def _masqueraded(self, node: str, leaves: str, packet: _Packet) -> _Packet:
        """Return the packet as it leaves a router: with the router's address if it masquerades the source."""
        subnets = self._hidden[node]
        everything = any(subnet.prefixlen == 0 for subnet in subnets)
        if not _within(packet.sender, subnets) or (_within(packet.to, subnets) and not everything):
            return packet
        own = next((own.address for own in self._wires.of[node] if own.network == leaves), None)
        return packet if own is None else replace(packet, sender=own, came=int(own))

    def _leave(self, node: str, came: str | None, packet: _Packet) -> tuple[str, str] | Disposition:
        """Return a node's outgoing network and next hop, or the fault that drops the packet there."""
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

    def _next_hop(self, node: str, to: Address) -> tuple[str, str] | Disposition:
        route = self.chosen(node, to)
        if route is None:
            return self._no_route(node, to)
        if route.kind != "unicast":
            return Disposition(node, f"a {route.kind} route to {route.prefix}")
        neighbour = route.via if route.via is not None else to
        following = self._wires.holder.get((route.network, neighbour))
        if following is None:
            what = f"nobody has {neighbour} on {route.network}"
            return Disposition(node, what, outside=self._lab.networks[route.network].is_beyond)
        return route.network, following

    def _accepts(self, node: str, came: str, packet: _Packet) -> bool:
        """Tell whether rp_filter accepts a packet: 2 requires any route back, 1 a route by the same NIC."""
        strictness = self._filters.get(node, 0)
        if strictness == 0:
            return True
        route = self._longest[node].find(packet.came)
        return route is not None and (strictness == 2 or route.network == came)

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
    ) -> tuple[str, str] | Disposition:
        """Follow libvirt's rules: which of its networks may open connections to which."""
        network = self._connected_to_hypervisor(to)
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
        return network, self._wires.owner[to]

    def _connected_to_hypervisor(self, address: Address) -> str | None:
        return next((n for n in self._wires.hypervisor if address in (self._wires.prefix_of(n) or ())), None)

    def _is_beyond(self, address: Address) -> bool:
        """Tell whether an address is on a network to which the hypervisor may have a way of its own."""
        networks = self._lab.networks.items()
        return any(net.is_beyond and address in (self._wires.prefix_of(name) or ()) for name, net in networks)

    def _no_route(self, node: str, to: Address) -> Disposition:
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


def _kin(wires: L3Topology, tables_of: Mapping[str, tuple[Route, ...]]) -> Mapping[str, str]:
    """Name, for each ordinary host, the first host in the same position.

    Hosts with a single NIC on the same network and the same routes differ only in their address; a lab of
    1,000 hosts has a few dozen kinds. This leaves out routers, hosts that serve as a next hop, and hosts
    that a route narrower than their network singles out.
    """
    every = {route for table in tables_of.values() for route in table}
    used = {(route.network, route.via) for route in every}
    subnets = {there.prefix for members in wires.on.values() for there in members}
    odd = {route.prefix for route in every} - subnets
    first: dict[tuple[str, tuple[Route, ...]], str] = {}
    kin = {}
    for name, attachments in wires.of.items():
        if len(attachments) != 1 or name in wires.routers or attachments[0].nic.filter is not None:
            continue
        own = attachments[0]
        narrower = (prefix for prefix in odd if prefix.prefixlen > own.prefix.prefixlen)
        named = own.address, *((link_local(own.nic.mac),) if own.nic.mac else ())
        special = any((own.network, each) in used for each in named) or any(
            own.address in prefix for prefix in narrower
        )
        if not special:
            kin[name] = first.setdefault((own.network, tables_of[name]), name)
    return kin


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
