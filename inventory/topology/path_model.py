"""The path between two hosts: its hops, the trails there and back, or where it ends."""

from __future__ import annotations

from dataclasses import dataclass

from labrun.inventory.model import Address

__all__ = ["Disposition", "ForwardPath", "Path", "RoundTrip"]


@dataclass(frozen=True, slots=True)
class Disposition:
    """Where a packet ends and why; ``node`` is a host or the hypervisor.

    ``outside`` = it may get on from there by routes that the lab file does not have: those of the hypervisor,
    of the network around a bridge, or of somebody else's DHCP server.
    """

    node: str
    what: str
    outside: bool = False

    def __str__(self) -> str:
        return f"{self.node}: {self.what}"


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What all paths between two kinds of hosts have in common; traced between ``source`` and ``target``.

    ``answers`` are the hops before the target, None for a hop whose reply cannot get back. ``through`` and
    ``back`` name the nodes that forward to the target and back. ``redirected`` are the indexes of hops that
    the source may learn to skip, since they send packets back into the network they came from (ICMP
    redirect). If a router masquerades the source, ``seen`` is the source address at each of ``through`` and
    at the target, and ``returns`` the destination of replies at the target and at each of ``back``; None =
    the source.
    """

    source: str
    target: str
    answers: tuple[Address | None, ...] = ()
    through: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    redirected: tuple[int, ...] = ()
    fault: Disposition | None = None
    seen: tuple[Address | None, ...] = ()
    returns: tuple[Address | None, ...] = ()

    def seen_by(self, place: int, own: Address) -> Address:
        """Return the source address of packets at the source (0), each of ``through``, and the target."""
        return own if place == 0 or not self.seen else self.seen[place - 1] or own

    def returned_to(self, place: int, own: Address) -> Address:
        """Return the address that the target (0) and each of ``back`` send replies to."""
        return own if place >= len(self.returns) else self.returns[place] or own


@dataclass(frozen=True, slots=True)
class Path:
    """What a trace of ``address`` from ``source`` must show.

    ``address`` is None if the file knows no address of this IP version for the target.
    """

    source: str
    target: str
    address: Address | None
    way: RoundTrip

    @property
    def hops(self) -> tuple[Address | None, ...]:
        """Return every hop's reply, the target's last; empty if the target is unreachable."""
        return () if self.way.fault is not None else (*self.way.answers, self.address)

    @property
    def fault(self) -> Disposition | None:
        """Return why the target is unreachable, None if it is reachable."""
        fault = self.way.fault
        if fault is None:
            return None
        named = {self.way.source: self.source, self.way.target: self.target}
        return Disposition(named.get(fault.node, fault.node), fault.what, fault.outside)


@dataclass(frozen=True, slots=True)
class ForwardPath:
    """The nodes that forward from a start to an address, and the networks between them.

    ``networks`` has one entry more than ``nodes``: the network left by from the start, then from each node.
    ``senders`` has one more too: the source address that each node, and finally the destination, sees;
    empty if no router on the way masquerades. ``nics`` are, for each of ``networks``, the names of the NICs
    that send and receive there; the hypervisor's are its networks.
    """

    nodes: tuple[str, ...]
    networks: tuple[str, ...]
    fault: Disposition | None = None
    senders: tuple[Address, ...] = ()
    nics: tuple[tuple[str, str], ...] = ()
