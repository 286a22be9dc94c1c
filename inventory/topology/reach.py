"""Whether a connection gets through a lab's firewalls, port forwards and filters, and which rule decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from labrun.inventory.model import Address, Host, Interface, Lab, Prefix
from labrun.inventory.topology.flows import Flow, PortForward, accepted, redirections
from labrun.inventory.topology.forwarding import Forwarding, forwarding
from labrun.inventory.topology.nic_filters import Direction, Frame, Refusal, refused
from labrun.inventory.topology.path_model import ForwardPath
from labrun.inventory.topology.wiring import HYPERVISOR_NODE, wiring

__all__ = ["Connection", "Verdict", "reach"]

Proto = Literal["tcp", "udp"]
# Forwards that lead to forwards: a longer chain than this is a loop.
_MOST_TURNS = 4


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection from a host to a port of an address."""

    source: str
    address: Address
    port: int
    proto: Proto = "tcp"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a connection: where it ends (host and port), and by which rules.

    ``rules`` are the accepting rules as (host, rule in words). ``by`` names the node that drops it and the
    reason; empty if it is not dropped. ``refusal`` is the rule of the hypervisor that does.
    """

    passes: bool
    end: str
    port: int
    rules: tuple[tuple[str, str], ...] = ()
    by: str = ""
    refusal: Refusal | None = None

    @property
    def is_rejected(self) -> bool:
        """Tell whether the source is told that it is refused."""
        return self.refusal is not None and self.refusal.action == "reject"


@dataclass(frozen=True, slots=True)
class _Leg:
    """One stretch of the path without a change of the destination address."""

    start: str
    to: Address
    sender: Address
    trail: ForwardPath

    def senders(self) -> tuple[Address, ...]:
        return self.trail.senders or (self.sender,) * (len(self.trail.nodes) + 1)


def reach(lab: Lab, dialled: Connection, sender: Address | None = None) -> Verdict | None:
    """Return what the file implies for a connection, None if it cannot tell.

    ``sender`` is the address it comes from where the source is the hypervisor, whose addresses outside the
    lab the file does not know; of its answers nothing is judged.

    It cannot tell if the address belongs to no lab host, if there is no route, if a forward leads back to
    the source, or if replies return through a firewall that never saw the request. Ports without a listener
    pass too: the host itself refuses the connection.
    """
    version: Literal[4, 6] = 4 if dialled.address.version == 4 else 6
    forwarder = forwarding(lab, version)
    if sender is None:
        own = forwarder.sends_from(dialled.source, dialled.address)
        sender = own.address if own is not None else None
    if sender is None or dialled.address not in wiring(lab, version).owner:
        return None
    return _Walk(lab, forwarder, dialled).verdict(sender)


class _Walk:
    def __init__(self, lab: Lab, forwarder: Forwarding, dialled: Connection) -> None:
        self._lab, self._forwarder, self._proto = lab, forwarder, dialled.proto
        self._dialled = dialled
        self._owner = wiring(lab, 4 if dialled.address.version == 4 else 6).owner
        self._rules: list[tuple[str, str]] = []
        self._passed: set[str] = set()
        self._legs: list[_Leg] = []

    def verdict(self, own: Address) -> Verdict | None:
        start, to, port, sender = self._dialled.source, self._dialled.address, self._dialled.port, own
        for _ in range(_MOST_TURNS):
            leg = _Leg(start, to, sender, self._forwarder.trail(start, to, sender, echo=False))
            if leg.trail.fault is not None:
                return None
            self._legs.append(leg)
            end, seen = self._owner[to], leg.senders()
            kept = self._kept(leg, port)
            if kept is not None:
                return Verdict(False, end, port, tuple(self._rules), *kept)
            for node, who in zip(leg.trail.nodes, seen, strict=False):
                if not self._accepts(node, "forward", who, to, port):
                    return self._dropped(end, port, node, "forward")
            self._passed.update(leg.trail.nodes)
            turned = self._turned(end, to, port) if end != self._dialled.source else None
            if turned is None:
                return self._at_the_end(end, seen[-1], to, port)
            if self._owner.get(turned.to) in (None, end, self._dialled.source):
                return None
            self._rules.append((end, turned.text))
            self._passed.add(end)
            start, to, port, sender = end, turned.to, turned.to_port, self._hairpin(end, turned, seen[-1])
        return None

    def _kept(self, leg: _Leg, port: int) -> tuple[str, Refusal] | None:
        """Return what refuses the request or its answer at a NIC on the way: in words, and the rule."""
        nodes = (leg.start, *leg.trail.nodes, self._owner[leg.to])
        for place, (leaves, enters) in enumerate(leg.trail.nics):
            request = Frame(self._proto, leg.senders()[place], leg.to, port)
            sides: tuple[tuple[str, str, Direction, Direction], ...] = (
                (nodes[place], leaves, "out", "in"),
                (nodes[place + 1], enters, "in", "out"),
            )
            for name, on, out, back in sides:
                host = self._lab.hosts.get(name)
                nic = host.nic(on) if host is not None else None
                found = refused(self._lab, nic, out, request)
                answers = self._answering(host, nic, request.source) if out == "in" else nic
                found = found or refused(self._lab, answers, back, request.answer())
                if found is not None:
                    does = "rejects" if found.action == "reject" else "drops"
                    what = f"{self._proto}/{port}"
                    where = f"{name}'s NIC on {on}"
                    return f"hypervisor: the filter {found.filter} {does} {what} at {where}", found
        return None

    def _answering(self, host: Host | None, came: Interface | None, towards: Address) -> Interface | None:
        """Return the NIC that the answer leaves by: the network's first, whichever the request came by."""
        route = self._forwarder.chosen(host.name, towards) if host is not None else None
        if host is None or came is None or route is None or route.network != came.network:
            return came
        return host.nic(route.nic) or came

    def _at_the_end(self, end: str, who: Address, to: Address, port: int) -> Verdict | None:
        if not self._accepts(end, "input", who, to, port):
            return self._dropped(end, port, end, "input")
        answered = self._dialled.source == HYPERVISOR_NODE or self._answers_get_back()
        return Verdict(True, end, port, tuple(self._rules)) if answered else None

    def _dropped(self, end: str, port: int, node: str, chain: str) -> Verdict:
        why = f"{node}: firewall.{chain} is drop and no rule accepts it"
        return Verdict(False, end, port, tuple(self._rules), why)

    def _turned(self, end: str, to: Address, port: int) -> PortForward | None:
        fitting = redirections(self._lab, self._lab.hosts[end])
        what = (to, port, self._proto)
        return next((each for each in fitting if (each.address, each.port, each.proto) == what), None)

    def _hairpin(self, router: str, turned: PortForward, sender: Address) -> Address:
        """Return the source address of packets that go back into the network they came from."""
        if turned.hairpin is None or sender not in turned.hairpin:
            return sender
        own = self._forwarder.sends_from(router, turned.to)
        return own.address if own is not None else sender

    def _accepts(
        self, node: str, chain: Literal["input", "forward"], who: Address, to: Address, port: int
    ) -> bool:
        host = self._lab.hosts.get(node)
        if host is None or host.firewall is None or getattr(host.firewall, chain) == "accept":
            return True
        if chain == "input" and host.firewall.ssh and self._proto == "tcp" and port in _ssh_ports(host):
            return True
        for flow in accepted(self._lab, host, chain):
            if _fits(flow, self._proto, who, to, port):
                self._rules.append((node, flow.text))
                return True
        return False

    def _answers_get_back(self) -> bool:
        """Tell whether replies pass each translating router, and only firewalls that saw the request."""
        for number, leg in reversed(list(enumerate(self._legs))):
            end = self._owner[leg.to]
            steps, fault = self._forwarder.homeward(end, leg.to, leg.trail, leg.sender, echo=False)
            nodes = [node for node, _ in steps[1:]]
            if fault is not None or any(self._knows_nothing(node) for node in nodes):
                return False
            hides = self._owner.get(leg.senders()[0]) == leg.start
            if number and not hides and leg.start not in nodes:
                return False
        return True

    def _knows_nothing(self, node: str) -> bool:
        host = self._lab.hosts.get(node)
        drops = host is not None and host.firewall is not None and host.firewall.forward == "drop"
        return drops and node not in self._passed


def _ssh_ports(host: Host) -> Iterator[int]:
    declared = [int(port) for port in (host.sshd or {}).get("port", ()) if port.strip().isdecimal()]
    yield from declared or (22,)


def _fits(flow: Flow, proto: Proto, who: Address, to: Address, port: int) -> bool:
    return (
        flow.proto == proto
        and flow.version in (None, to.version)
        and _among(who, flow.sources)
        and _among(to, flow.targets)
        and (not flow.ports or any(low <= port <= high for low, high in flow.ports))
    )


def _among(address: Address, prefixes: Sequence[Prefix]) -> bool:
    return not prefixes or any(address in prefix for prefix in prefixes)
