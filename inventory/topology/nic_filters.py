"""What the hypervisor's filters refuse at a NIC, independent of the guest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from labrun.inventory.model import Address, Interface, Lab, Prefix
from labrun.inventory.topology.flows import place, ports_text
from labrun.inventory.traffic import FilterRule

__all__ = ["Direction", "Frame", "Refusal", "deciding", "directions", "ends_of", "refused", "rule_words"]

Direction = Literal["in", "out"]
_VERSIONS: tuple[Literal[4, 6], ...] = (4, 6)
# Where Linux takes the source ports of connections from; answers go to them.
_EPHEMERAL = (32768, 60999)


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet between two addresses. ``port`` is its destination port, None for any of a client's."""

    proto: Literal["tcp", "udp", "icmp"]
    source: Address
    to: Address
    port: int | None = None
    answers: bool = False

    def answer(self) -> Frame:
        """Return the packet that answers it."""
        return Frame(self.proto, self.to, self.source, None, answers=True)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The rule that refuses a packet: the filter's name, its number there, and what it does."""

    filter: str
    number: int
    action: Literal["deny", "reject"]


def refused(lab: Lab, nic: Interface | None, direction: Direction, frame: Frame) -> Refusal | None:
    """Return the rule that refuses a packet at a NIC, None if it passes; ``direction`` as the guest sees it.

    Without ARP, or ICMPv6 in its place, neighbours cannot be resolved, so nothing passes at all. A filter
    that keeps state lets these pass unless a rule names them, and all answers.
    """
    if nic is None or nic.filter is None or nic.filter not in lab.filters:
        return None
    found = lab.filters[nic.filter]
    resolving = {"arp" if frame.to.version == 4 else "icmpv6"}
    if not found.keeps_state:
        resolving |= {"all", f"ipv{frame.to.version}"}
    for number, rule in enumerate(found.rules):
        cuts_off = rule.proto in resolving and rule.source is None and rule.to is None
        if cuts_off and rule.action == "deny":
            return Refusal(found.name, number, "deny")
    decides = deciding(lab, nic, direction, frame)
    action = "allow" if decides is None else found.rules[decides].action
    return None if decides is None or action == "allow" else Refusal(found.name, decides, action)


def deciding(lab: Lab, nic: Interface, direction: Direction, frame: Frame) -> int | None:
    """Return the number of the first rule of the NIC's filter that matches a packet, None if none does."""
    found = lab.filters.get(nic.filter or "")
    if found is None or (found.keeps_state and frame.answers):
        return None
    return next((n for n, rule in enumerate(found.rules) if _fits(lab, rule, direction, frame)), None)


def _fits(lab: Lab, rule: FilterRule, direction: Direction, frame: Frame) -> bool:
    version = frame.to.version
    name = "icmpv6" if frame.proto == "icmp" and version == 6 else frame.proto
    low, high = _EPHEMERAL if frame.port is None else (frame.port, frame.port)
    return (
        direction in directions(rule)
        and rule.proto in (name, "all", f"ipv{version}")
        and (not rule.ports or any(first <= low and high <= last for first, last in rule.ports))
        and any(
            number == version and _among(frame.source, sources) and _among(frame.to, targets)
            for number, sources, targets in ends_of(lab, rule)
        )
    )


def directions(rule: FilterRule) -> tuple[Direction, ...]:
    """Return the directions of a rule, ``in`` first."""
    if rule.direction == "inout":
        return ("in", "out")
    return (rule.direction,)


def ends_of(
    lab: Lab, rule: FilterRule
) -> Iterator[tuple[Literal[4, 6], tuple[Prefix, ...], tuple[Prefix, ...]]]:
    """Yield the IP versions in which a rule's ends have addresses: the sources and targets, empty = any."""
    for version in _VERSIONS:
        sources, targets = (_prefixes(lab, name, version) for name in (rule.source, rule.to))
        if sources is not None and targets is not None:
            yield version, sources, targets


def _prefixes(lab: Lab, name: str | None, version: int) -> tuple[Prefix, ...] | None:
    if name is None:
        return ()
    return tuple(prefix for prefix in place(lab, name) if prefix.version == version) or None


def _among(address: Address, prefixes: tuple[Prefix, ...]) -> bool:
    return not prefixes or any(address in prefix for prefix in prefixes)


def rule_words(rule: FilterRule) -> str:
    """Return a rule in words: ``deny in tcp/80,443 from lan to web``."""
    what = f"{rule.proto}/{ports_text(rule.ports)}" if rule.ports else rule.proto
    source = f" from {rule.source}" if rule.source is not None else ""
    target = f" to {rule.to}" if rule.to is not None else ""
    return f"{rule.action} {rule.direction} {what}{source}{target}"
