"""Faults of the sending NIC: down, without its address, with another host's, MTU too small."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from labrun.inventory.model import Address, Interface, Lab
from labrun.inventory.topology.wiring import Attachment, Version, wiring
from labrun.outcome import Fault, Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.translations import translates
from labrun.tasks.guest.facts.links import Link
from labrun.tasks.guest.facts.nft import suspects
from labrun.tasks.guest.facts.nft_rules import Packet, Proto
from labrun.tasks.judging import guarded
from labrun.tasks.state.sections import ADDRESS

__all__ = [
    "Finding",
    "Shown",
    "ipv6_off",
    "mtu_of_ipv6",
    "neighbour_findings",
    "nic_findings",
    "nic_name",
    "nic_of",
    "not_asked",
    "small_links",
]

# Neighbour solicitations of IPv6 and the answers to them, as a rule may name them.
_QUESTION = re.compile(r"nd-neighbor-solicit|\b(?:ipv6-icmp|icmpv6|nexthdr 58)\b(?! type)")
_ANSWER = re.compile(r"nd-neighbor-advert|\b(?:ipv6-icmp|icmpv6|nexthdr 58)\b(?! type)")

# nft prints some protocols by their number.
_NAMES = {
    proto: re.compile(
        rf"\b{proto}\b|\bth\b|\b(?:l4proto|protocol|nexthdr) (?:!= |\{{[^{{}}]*+\}}|{number}\b)"
    )
    for proto, number in (("tcp", 6), ("udp", 17))
}
_REFUSES = re.compile(r"\b(?:drop|reject)\b")
# Queues of tc that lose packets on purpose; the others wait their turn.
_SLOW_QUEUES = frozenset({"tbf", "netem", "htb", "hfsc", "cbq", "cake", "blackhole", "plug", "red", "choke"})

_SECONDS_A_HOST = 2.0
"""The time all rows together may spend on one host's evidence: a ruleset may have 20,000 rules."""

CAUSE, SILENT, LIKELY, SYMPTOM = range(4)
"""How certain a finding is: a cause, a silent host, what may be one, or a likely consequence of another."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A fault on the path, at one host or at none; the lowest ``rank`` counts, then the first.

    ``row`` are section and name of the host's own row about it, ``by_hand`` the commands that mend it there.
    ``silent`` is the fault of the host that does not answer, if that is the finding.
    """

    rank: int
    what: str = field(compare=False)
    at: str | None = field(default=None, compare=False)
    row: tuple[str, str] = field(default=("", ""), compare=False)
    by_hand: tuple[str, ...] = field(default=(), compare=False)
    silent: Fault | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        """Return the finding as a reason, prefixed with the host."""
        return self.what if self.at is None else f"{self.at}: {self.what}"

    @property
    def fault(self) -> Fault:
        """Return the finding as the origin of the rows that follow from it."""
        if self.silent is not None:
            return self.silent
        return Fault(self.at, self.what, *self.row, self.by_hand)


@dataclass(frozen=True, slots=True)
class Shown:
    """The reports of all hosts; a host that was not queried is missing from ``captures``."""

    lab: Lab
    captures: Mapping[str, Capture | Unreachable]
    _held: dict[Address, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _translating: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)
    _refusing: dict[tuple[str, Proto], bool] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _spent: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def capture(self, host: str) -> Capture | None:
        """Return a host's capture, None if it has none."""
        found = self.captures.get(host)
        return found if isinstance(found, Capture) else None

    def silence(self, host: str) -> Unreachable | None:
        """Return why labrun could not log in to a host that was queried, None if it could.

        It may have been read out of band all the same.
        """
        found = self.captures.get(host)
        return found.out_of_band if isinstance(found, Capture) else found

    def told(self, host: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
        """Return the findings from a host's evidence: none if it cannot be judged, or takes too long."""
        spent, began = self._spent.get(host, 0.0), time.monotonic()
        if spent > _SECONDS_A_HOST:
            return []
        found = guarded(host, look, lambda _why: ())
        self._spent[host] = spent + time.monotonic() - began
        return found

    def translates(self, host: str) -> bool:
        """Tell whether rules on a host that are not labrun's translate any packets."""
        if host not in self._translating:
            capture = self.capture(host)
            self._translating[host] = capture is not None and translates(capture.evidence.after)
        return self._translating[host]

    def refuses(self, host: str, proto: Proto) -> bool:
        """Tell whether any rule on a host names a protocol, or all but another, and drops something.

        A rule of ``ip rule`` for a protocol may refuse it.
        """
        if (host, proto) not in self._refusing:
            capture = self.capture(host)
            chains = capture.evidence.after.values() if capture is not None else ()
            texts = (rule.text for chain in chains for rule in chain.rules)
            policies = capture.evidence.rules if capture is not None else ()
            self._refusing[host, proto] = any("ipproto" in rule.conditions for rule in policies) or any(
                _NAMES[proto].search(text) and _REFUSES.search(text) for text in texts
            )
        return self._refusing[host, proto]

    def holders(self, address: Address) -> list[str]:
        """Return the hosts that have an address on one of their devices, the loopback included."""
        if not self._held:
            for host, found in self.captures.items():
                devices = (*found.links.values(), *found.devices) if isinstance(found, Capture) else ()
                for ip in {each.ip for link in devices for each in (*link.settled, *link.fleeting)}:
                    self._held.setdefault(ip, []).append(host)
        return self._held.get(address, [])


def not_asked(host: str) -> Unreachable:
    """Return a placeholder for a host that is missing from the captures."""
    return Unreachable(f"{host} was not asked", Status.UNKNOWN)


def nic_of(lab: Lab, host: str, capture: Capture, device: str) -> Interface | None:
    """Return the host's NIC whose MAC a device has, None if it is none of the lab file's."""
    for nic in lab.hosts[host].interfaces:
        link = capture.links.get(nic.mac)
        if link is not None and link.name == device:
            return nic
    return None


def nic_name(lab: Lab, host: str, capture: Capture, device: str) -> str:
    """Return the name of the NIC whose MAC a device has, else the device's name."""
    nic = nic_of(lab, host, capture, device)
    return nic.name if nic is not None else device or "nowhere"


def nic_findings(node: str, capture: Capture, own: Attachment, link: Link | None) -> Iterator[Finding]:
    """Yield what keeps the NIC from sending; ``own`` is its desired state."""
    row = (ADDRESS.name, own.name)
    if link is None:
        mac = own.nic.mac
        known = f"{mac}, its MAC on {own.name}" if mac else f"an address of {own.name}"
        yield Finding(CAUSE, f"no NIC has {known}", node, row)
        return
    if not link.is_up:
        yield Finding(CAUSE, f"{link.name} ({own.name}) is down", node, row)
        return
    if link.port_of:
        yield Finding(CAUSE, f"{link.name} ({own.name}) is a port of {link.port_of}", node, row)
        return
    if not link.has_arp:
        yield Finding(CAUSE, f"ARP is switched off on {link.name} ({own.name})", node, row)
    if link.queue in _SLOW_QUEUES:
        what = f"the queue {link.queue} on {link.name} ({own.name}) delays or drops packets"
        yield Finding(LIKELY, f"{what}: `tc -s qdisc show dev {link.name}`", node)
    same = [each for each in (*link.settled, *link.fleeting) if each.ip == own.address]
    if not same and own.address.version == 6 and (off := ipv6_off(capture, link)) is not None:
        yield Finding(CAUSE, f"{off} ({own.name})", node, row)
    elif not same and (why := next((why for each, why in link.unusable if each.ip == own.address), "")):
        yield Finding(CAUSE, f"{own.address} cannot be used on {own.name}: {why}", node, row)
    elif not same:
        yield Finding(CAUSE, f"{own.address} is missing on {own.name}", node, row)
    elif all(each.network != own.prefix for each in same):
        lengths = f"/{same[0].network.prefixlen}, not /{own.prefix.prefixlen}"
        yield Finding(CAUSE, f"{own.address} has the prefix {lengths}, on {own.name}", node, row)


def neighbour_findings(
    shown: Shown, node: str, capture: Capture, link: Link, own: Attachment, following: Address
) -> Iterator[Finding]:
    """Yield the faults in the node's neighbour entry for the next hop."""
    version: Version = 4 if following.version == 4 else 6
    wires = wiring(shown.lab, version)
    holder = wires.holder.get((own.network, following))
    others = [host for host in shown.holders(following) if host != holder]
    if others and holder is not None:
        yield Finding(CAUSE, f"{' and '.join(others)} has {following} too, which is {holder}'s")
    seen = capture.evidence.neighbour(link.name, following)
    meant = next((there for there in wires.on[own.network] if there.address == following), None)
    if seen is None:
        return
    who = f"{following} ({holder})" if holder else str(following)
    if seen.mac is not None and meant is not None and meant.nic.mac not in ("", seen.mac):
        yield Finding(CAUSE, f"takes {who} to be at {seen.mac}; its MAC is {meant.nic.mac}", node)
    elif seen.failed:
        asks = f"neigh/{link.name}/mcast_solicit"
        if capture.evidence.setting(asks, version) == 0:
            what = f"net.ipv{version}.{asks.replace('/', '.')} is 0: it asks for no neighbour"
            yield Finding(CAUSE, what, node)
        question = Packet(own.address, following, leaves=link.name)
        yield from _unheard(shown, node, question, holder, meant)
        if version == 4 and holder is not None and meant is not None:
            yield from _unanswered(shown, holder, meant)
        what = "ARP" if version == 4 else "neighbour solicitations"
        yield Finding(SYMPTOM, f"{who} does not answer {what} on {own.network}", node)


def _unheard(
    shown: Shown, node: str, question: Packet, holder: str | None, meant: Attachment | None
) -> Iterator[Finding]:
    """Yield the rules that drop the question who has an address, or its answer, at either end."""
    theirs = shown.capture(holder) if holder is not None else None
    link = theirs.links.get(meant.nic.mac) if theirs is not None and meant is not None else None
    there = link.name if link is not None else ""
    asked = Packet(question.source, question.target, came=there)
    answer = Packet(question.target, question.source, leaves=there)
    heard = Packet(question.target, question.source, came=question.leaves)
    for host, packet, hooks, named in (
        (node, question, ("output", "postrouting", "egress"), _QUESTION),
        (holder, asked, ("ingress", "prerouting", "input"), _QUESTION),
        (holder, answer, ("output", "postrouting", "egress"), _ANSWER),
        (node, heard, ("ingress", "prerouting", "input"), _ANSWER),
    ):
        capture = shown.capture(host) if host is not None else None
        if host is not None and capture is not None:
            yield from shown.told(host, partial(_refused, host, capture, packet, hooks, named))


def _refused(
    host: str, capture: Capture, packet: Packet, hooks: tuple[str, ...], named: re.Pattern[str]
) -> Iterator[Finding]:
    looks = (capture.evidence.before, capture.evidence.after)
    if packet.target.version == 4:
        other = packet.source if packet.came else packet.target
        for found in suspects(*looks, packet, hooks, ("arp",)):
            yield Finding(CAUSE, f"nftables drops ARP for {other}: {found.text}", host)
        return
    for found in suspects(*looks, packet, hooks, ("ip6", "inet", "netdev")):
        if named.search(found.text):
            what = "solicitations" if named is _QUESTION else "advertisements"
            yield Finding(CAUSE, f"nftables drops neighbour {what}: {found.text}", host)


def _unanswered(shown: Shown, holder: str, meant: Attachment) -> Iterator[Finding]:
    """Yield the setting by which the holder of an address answers no ARP."""
    capture = shown.capture(holder)
    link = capture.links.get(meant.nic.mac) if capture is not None else None
    for which in ("all", link.name) if capture is not None and link is not None else ():
        # From 1 to 3 it answers for the NIC's own address all the same.
        if (value := capture.evidence.setting(f"conf/{which}/arp_ignore") if capture else None) == 8:
            yield Finding(CAUSE, f"net.ipv4.conf.{which}.arp_ignore is {value}: it answers no ARP", holder)
            return


def ipv6_off(capture: Capture, link: Link) -> str | None:
    """Return the setting by which a NIC has no IPv6, None if it has."""
    for which in (link.name, "all"):
        if capture.evidence.setting(f"conf/{which}/disable_ipv6", 6):
            return f"net.ipv6.conf.{which}.disable_ipv6 is 1"
    return None


def small_links(shown: Shown, nodes: tuple[str, ...], size: int) -> Iterator[Finding]:
    """Yield the NICs on the path, on the lab's networks, that are too small for ``size`` bytes."""
    for node in nodes:
        capture = shown.capture(node)
        for nic in shown.lab.hosts[node].interfaces if capture is not None else ():
            link = capture.links.get(nic.mac) if capture is not None else None
            if link is not None and link.mtu is not None and link.mtu < size:
                small = f"{link.name} ({nic.name}) has the MTU {link.mtu}, not {size}"
                yield Finding(CAUSE, small, node)


def mtu_of_ipv6(capture: Capture, link: Link) -> int | None:
    """Return the MTU in bytes that a NIC has for IPv6 alone, None if it is unknown."""
    return capture.evidence.setting(f"conf/{link.name}/mtu", 6)
