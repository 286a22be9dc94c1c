"""The hops that a traceroute between two hosts must show, there and back: a pure function of the lab."""

from __future__ import annotations

from collections.abc import Mapping

from labrun.inventory.model import Address, Lab
from labrun.inventory.topology.eui64 import link_local
from labrun.inventory.topology.forwarding import forwarding
from labrun.inventory.topology.path_model import Disposition, ForwardPath, Path, RoundTrip
from labrun.inventory.topology.routing import Route, tables
from labrun.inventory.topology.wiring import HYPERVISOR_NODE, L3Topology, Version, per_lab, wiring

__all__ = ["Paths", "paths"]


class Paths:
    """What traces between the hosts of a lab show in one IP version; lookups are cached."""

    def __init__(self, lab: Lab, version: Version) -> None:
        self._lab = lab
        self._wires: L3Topology = wiring(lab, version)
        self._version = version
        self._forwarding = forwarding(lab, version)
        # To a filter that names addresses, hosts in the same position are not alike.
        self._kin = {} if self._tells_hosts_apart() else _kin(self._wires, tables(lab, version))
        self._known: dict[tuple[str, str], RoundTrip] = {}
        self._answers: dict[tuple[str, str, int], Address | None] = {}

    def target_address(self, source: str, target: str) -> Address | None:
        """Return the address to trace: on the first common network, else the target's first."""
        shared = self._wires.shared(source, target)
        if shared is not None:
            return shared.address
        theirs = self._wires.of[target]
        return theirs[0].address if theirs else None

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
        own = None if address is None else self._forwarding.sends_from(source, address)
        if address is None or own is None:
            return RoundTrip(source, target, fault=self._not_sent(source, target, address))
        there = self._forwarding.trail(source, address, own.address)
        back, lost = self._forwarding.homeward(target, address, there, own.address)
        fault = there.fault or lost
        if fault is not None:
            return RoundTrip(source, target, (), there.nodes, tuple(name for name, _ in back[1:]), (), fault)
        answers = tuple(self._answer(place, there, own.address) for place, _ in enumerate(there.nodes))
        redirected = tuple(
            place
            for place, ((_, came), (leaves, _)) in enumerate(zip(there.nics, there.nics[1:], strict=False))
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
        return self._forwarding.no_route(source, address)

    def _answer(self, place: int, there: ForwardPath, own: Address) -> Address | None:
        node, came = there.nodes[place], there.nics[place][1]
        seen = there.senders[place] if there.senders else own
        if seen != own:
            address = self._answering(node, came, seen)
            lost = (
                address is None or self._forwarding.homeward(node, address, there, own, place)[1] is not None
            )
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
            network = came if self._version == 6 else self._forwarding.network_of_hypervisor(towards)
            address = self._wires.hypervisor.get(network) if network is not None else None
        elif self._version == 6:
            address = next(own.address for own in self._wires.of[node] if own.name == came)
        else:
            own = self._forwarding.sends_from(node, towards)
            address = own.address if own is not None else None
        if address is None:
            return None
        back = self._forwarding.trail(node, towards, address, answer=True)
        return address if back.fault is None else None

    def _tells_hosts_apart(self) -> bool:
        names = {nic.filter for host in self._lab.hosts.values() for nic in host.interfaces}
        filters = (each for each in self._lab.filters.values() if each.name in names)
        return any(rule.source or rule.to for each in filters for rule in each.rules)


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


@per_lab
def paths(lab: Lab, version: Version) -> Paths:
    """Return what traces between the lab's hosts show; cached per lab."""
    return Paths(lab, version)
