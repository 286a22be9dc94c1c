"""What filters on NICs imply for connections: one trial for each rule, direction and entry of its ports."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Literal

from labrun.inventory.model import Address, Host, Interface, Lab, Prefix
from labrun.inventory.topology.check_instance import ACCEPTED
from labrun.inventory.topology.nic_filters import Direction, Frame, deciding, directions, ends_of
from labrun.inventory.topology.reach import Connection, reach
from labrun.inventory.topology.wiring import Attachment, Version, wiring
from labrun.inventory.traffic import FilterRule

__all__ = ["filter_trials"]

# sshd listens on every host, so a dropped connection looks different from a closed port.
_SSH = 22
# Nothing listens on it, so the kernel would answer what nobody drops.
_DISCARD = 9
_EXPECTED = {"deny": "filtered", "reject": "refused", "allow": ACCEPTED}
_Found = tuple[str, str, Connection, str]
"""Source, target, the connection, and its expected result."""


def filter_trials(lab: Lab, host: Host, version: Version) -> Iterator[_Found]:
    """Yield a connection, and what the file expects of it, for what the filters of a host's NICs decide.

    ICMP is tried by the paths. A rule that no connection between two hosts of the lab would meet has none.
    """
    for nic in host.interfaces:
        found = lab.filters.get(nic.filter or "")
        own = next((there for there in wiring(lab, version).of[host.name] if there.name == nic.name), None)
        if found is None or own is None:
            continue
        for number, rule in enumerate(found.rules):
            for direction in directions(rule):
                for proto, port in _probes(rule):
                    yield from _first(lab, nic, own, version, number, direction, proto, port)


def _probes(rule: FilterRule) -> Iterator[tuple[Literal["tcp", "udp"], int]]:
    if rule.proto == "udp":
        yield from (("udp", low) for low, _ in rule.ports or ((_DISCARD, _DISCARD),))
    elif rule.proto not in ("icmp", "icmpv6", "arp"):
        yield from (("tcp", low) for low, _ in rule.ports or ((_SSH, _SSH),))


def _first(
    lab: Lab,
    nic: Interface,
    own: Attachment,
    version: Version,
    number: int,
    direction: Direction,
    proto: Literal["tcp", "udp"],
    port: int,
) -> Iterator[_Found]:
    """Yield the first connection between two hosts that this rule decides, or nothing if there is none."""
    rule = lab.filters[nic.filter or ""].rules[number]
    for wanted, sources, targets in ends_of(lab, rule):
        if wanted != version:
            continue
        for other in _others(lab, own, targets if direction == "out" else sources, version):
            source, target = (own, other) if direction == "out" else (other, own)
            frame = Frame(proto, source.address, target.address, port)
            if not _among(own.address, sources if direction == "out" else targets):
                return
            if deciding(lab, nic, direction, frame) != number:
                continue
            dialled = Connection(source.host, ip_address(str(target.address)), port, proto)
            verdict = reach(lab, dialled)
            if verdict is None or verdict.passes != (rule.action == "allow"):
                continue
            said = verdict.refusal
            if said is None and rule.action != "allow":
                continue
            if said is None or (said.filter, said.number) == (nic.filter, number):
                yield source.host, target.host, dialled, _EXPECTED[rule.action]
                return


def _others(
    lab: Lab, own: Attachment, prefixes: tuple[Prefix, ...], version: Version
) -> Iterator[Attachment]:
    """Yield the other hosts with an address in the prefixes, those on the NIC's own network first."""
    wires = wiring(lab, version)
    names = [own.network, *(name for name in lab.networks if name != own.network)]
    for name in names if prefixes else names[:1]:
        for there in wires.on[name]:
            if there.host != own.host and _among(there.address, prefixes):
                yield there


def _among(address: Address, prefixes: tuple[Prefix, ...]) -> bool:
    return not prefixes or any(address in prefix for prefix in prefixes)
