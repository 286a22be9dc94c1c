"""What is said of a way between two hosts: its hops, its trails there and back, or where it ends."""

from __future__ import annotations

from dataclasses import dataclass

from labrun.inventory.model import Address

__all__ = ["Disposition", "ForwardPath", "Path", "RoundTrip"]


@dataclass(frozen=True, slots=True)
class Disposition:
    """Where a packet ends and why; ``node`` is a host or the hypervisor."""

    node: str
    what: str

    def __str__(self) -> str:
        return f"{self.node}: {self.what}"


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What all paths between two kinds of hosts have in common; found between ``source`` and ``target``.

    ``answers`` are the hops before the target, None where no answer can come back. ``through`` and
    ``back`` name who forwards to the target and back. ``redirected`` are indexes of hops that the
    source may learn to leave out, since they send packets back into the network they came from
    (ICMP redirect). Where a router hides the source, ``seen`` is the sender at each of ``through`` and
    the target, ``returns`` the goal of the target's answers and at each of ``back``; None = the source.
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
        """Return whom packets come from at the source (0), at each of ``through``, and at the target."""
        return own if place == 0 or not self.seen else self.seen[place - 1] or own

    def returned_to(self, place: int, own: Address) -> Address:
        """Return where the target (0), and each of ``back``, sends answers to."""
        return own if place >= len(self.returns) else self.returns[place] or own


@dataclass(frozen=True, slots=True)
class Path:
    """What tracing ``address`` from ``source`` must show.

    ``address`` is None where the target has none of this IP version that the file knows.
    """

    source: str
    target: str
    address: Address | None
    way: RoundTrip

    @property
    def hops(self) -> tuple[Address | None, ...]:
        """Return every answer, the target's last; empty where it cannot be reached."""
        return () if self.way.fault is not None else (*self.way.answers, self.address)

    @property
    def fault(self) -> Disposition | None:
        """Return why the target cannot be reached, None where it can."""
        fault = self.way.fault
        if fault is None:
            return None
        named = {self.way.source: self.source, self.way.target: self.target}
        return Disposition(named.get(fault.node, fault.node), fault.what)


@dataclass(frozen=True, slots=True)
class ForwardPath:
    """The nodes that forward from a start to an address, and the networks between them.

    ``networks`` has one more than ``nodes``: the one left by from the start, then from each node.
    ``senders`` has one more too: whom each node, and then the goal, takes the packet to come from;
    empty where nobody on the way hides the sender.
    """

    nodes: tuple[str, ...]
    networks: tuple[str, ...]
    fault: Disposition | None = None
    senders: tuple[Address, ...] = ()
