"""Which other hosts `verify` tries from each host: all of them, or in a large lab a fixed choice."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from labrun.inventory.model import Lab
from labrun.inventory.topology.checks import instances_of
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.wiring import Version, per_lab, wiring

__all__ = ["WHOLE", "concerned", "is_large", "targets_of"]

WHOLE = 256
"""Up to this many hosts every ordered pair is tried. 5,000 hosts would have 25 million of them."""


def is_large(lab: Lab) -> bool:
    """Tell whether the lab has too many hosts to try every pair."""
    return len(lab.hosts) > WHOLE


def targets_of(lab: Lab, source: str, *, full: bool = False) -> tuple[str, ...]:
    """Return the hosts to try from a host, in file order, without the host itself; ``full`` asks for all.

    In a large lab these are the hosts 1, 2, 4, 8 ... places further in the file, which begins again after
    its last host, and the targets of declared traces. So each host is tried by as many as it tries, near
    ones in its own network and far ones in others, and a chain of tried pairs leads from any host to any
    other; hosts without an address in the file are left out. A host without a NIC in the file never has any
    pairs. Raises KeyError for an unknown name.
    """
    own = lab.hosts[source]
    if not own.interfaces:
        return ()
    if full or not is_large(lab):
        return tuple(name for name, host in lab.hosts.items() if host is not own and host.interfaces)
    ring, places = _ring(lab, 4)
    chosen = {t.target for t in instances_of(lab, source) if t.check.kind == "trace" and t.target is not None}
    if (place := places.get(source)) is not None:
        step = 1
        while step < len(ring):
            chosen.add(ring[(place + step) % len(ring)])
            step *= 2
    order = _order(lab, 4)
    return tuple(sorted(chosen - {source}, key=order.__getitem__))


def concerned(lab: Lab, hosts: Collection[str], *, full: bool = False) -> frozenset[str]:
    """Return the hosts that must be read for the rows of ``hosts``, which have to be known.

    Why a path fails is often seen on another host. In a large lab that is the other end or a host on the
    way there and back; in a smaller one all are read.
    """
    if not is_large(lab) or len(hosts) == len(lab.hosts):
        return frozenset(lab.hosts)
    found, expected = set(hosts), expectations(lab)
    for source in hosts:
        checked = (t.target for t in instances_of(lab, source) if t.target is not None)
        for target in {*targets_of(lab, source, full=full), *checked} - {source}:
            for version in expected.versions(source, target):
                way = expected.path(source, target, version).way
                found |= {target, *way.through, *way.back}
    return frozenset(found & lab.hosts.keys())


@per_lab
def _ring(lab: Lab, _version: Version) -> tuple[tuple[str, ...], Mapping[str, int]]:
    """Return the hosts that have an address, in either IP version, and the place of each among them."""
    ring = tuple(name for name in lab.hosts if wiring(lab, 4).of[name] or wiring(lab, 6).of[name])
    return ring, {name: place for place, name in enumerate(ring)}


@per_lab
def _order(lab: Lab, _version: Version) -> Mapping[str, int]:
    return {name: place for place, name in enumerate(lab.hosts)}
