"""Rules about a source that no packet has any more when it arrives: a router on the way has translated it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from labrun.inventory.model import Address, Host, Lab, Prefix
from labrun.inventory.topology.flows import place
from labrun.inventory.topology.forwarding import forwarding
from labrun.inventory.topology.wiring import HYPERVISOR_NODE, Version, wiring

__all__ = ["hidden_from"]

_VERSIONS: tuple[Version, ...] = (4, 6)
# What a node sees: the source address, and the address that it had.
_Seen: TypeAlias = tuple[Address, Address]


def hidden_from(lab: Lab, host: Host, source: str, to: str | None = None) -> str | None:
    """Return the router whose address packets of ``source`` have at ``host``, None if some have their own.

    They are for the host itself, or for ``to`` by way of it. ``source`` and ``to`` are a network, host,
    address or prefix as the file names them. None also where nothing of the lab's sends any: what comes from
    elsewhere is not in the lab file.
    """
    if not any(each.nat is not None for each in lab.hosts.values()):
        return None
    routers: set[str] = set()
    for version in _VERSIONS:
        sources = [prefix for prefix in place(lab, source) if prefix.version == version]
        if not sources:
            continue
        owner = wiring(lab, version).owner
        for seen, own in _arriving(lab, host, source, to, version):
            if _among(seen, sources):
                return None
            if _among(own, sources):
                routers.add(owner.get(seen, HYPERVISOR_NODE))
    return ", ".join(sorted(routers)) or None


def _arriving(lab: Lab, host: Host, source: str, to: str | None, version: Version) -> Iterator[_Seen]:
    wires, ways = wiring(lab, version), forwarding(lab, version)
    sources = [prefix for prefix in place(lab, source) if prefix.version == version]
    known: set[object] = set()
    for target in _targets(lab, host, to, version):
        for name, sender in lab.hosts.items():
            attached = wires.of[name]
            if name == host.name or not any(_among(each.address, sources) for each in attached):
                continue
            # Packets of hosts in the same place go the same way.
            alike = (target, tuple(each.network for each in attached), sender.gateway, sender.routes)
            if sender.nat is None and alike in known:
                continue
            known.add(alike)
            leaves = ways.sends_from(name, target)
            if leaves is None:
                continue
            trail = ways.trail(name, target, leaves.address, echo=False)
            if trail.fault is not None:
                continue
            nodes = (*trail.nodes, wires.owner[target])
            if host.name in nodes:
                senders = trail.senders or (leaves.address,) * len(nodes)
                yield senders[nodes.index(host.name)], leaves.address


def _targets(lab: Lab, host: Host, to: str | None, version: Version) -> Iterator[Address]:
    wires = wiring(lab, version)
    if to is None:
        yield from (each.address for each in wires.of[host.name])
        return
    prefixes = [prefix for prefix in place(lab, to) if prefix.version == version]
    for name in lab.hosts:
        yield from (each.address for each in wires.of[name] if _among(each.address, prefixes))


def _among(address: Address, prefixes: Sequence[Prefix]) -> bool:
    return any(address in prefix for prefix in prefixes)
