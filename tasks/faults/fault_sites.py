"""Where in a lab a fault can be planted so that it has a visible effect: a pure function of the lab."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.model import Host, Lab, Role
from labrun.inventory.topology.forwarding import forwarding
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.wiring import Attachment, L3Topology, Version, wiring
from labrun.tasks.faults.model import FaultSite

__all__ = ["fault_sites"]

_TARGETS = 2
"""This many targets per source are enough to choose from: 1,000 hosts make a million pairs."""


def fault_sites(lab: Lab) -> tuple[FaultSite, ...]:
    """Return the paths from ordinary hosts through a lab router to others: IPv4 first, in file order."""
    versions: tuple[Version, ...] = (4, 6)
    return tuple(
        site
        for version in versions
        for host in lab.hosts.values()
        if host.role is Role.HOST
        for site in _from(lab, version, host.name)
    )


def _from(lab: Lab, version: Version, source: str) -> Iterator[FaultSite]:
    found = 0
    for target, host in lab.hosts.items():
        if target == source or host.role is Role.ROUTER:
            continue
        site = _site_of(lab, version, paths(lab, version).path(source, target))
        if site is not None:
            yield site
            found += 1
        if found == _TARGETS:
            return


def _site_of(lab: Lab, version: Version, path: Path) -> FaultSite | None:
    wires, forwarder = wiring(lab, version), forwarding(lab, version)
    router = path.way.through[0] if path.way.through else ""
    if path.address is None or path.fault is not None or router not in lab.hosts:
        return None
    if any(_has_spare_nic(lab.hosts[name]) for name in (path.source, router, path.target)):
        return None
    route, own = forwarder.chosen(path.source, path.address), forwarder.sends_from(path.source, path.address)
    far = next((each for each in wires.of[path.target] if each.address == path.address), None)
    leaves = forwarder.sends_from(router, path.address)
    enters = next((each for each in wires.of[router] if route and each.address == route.via), None)
    if route is None or route.via is None or own is None or far is None or leaves is None or enters is None:
        return None
    default = route.prefix.prefixlen == 0
    other = _other(lab, wires, own)
    words = {
        "own": str(own.address),
        "own_len": str(own.prefix.prefixlen),
        "own_net": str(own.prefix),
        "own_mac": own.nic.mac,
        "gw": str(route.via),
        "goal": "default" if default else str(route.prefix),
        "far": str(path.address),
        "far_net": str(far.prefix),
        "in_mac": enters.nic.mac,
        "out_mac": leaves.nic.mac,
        "in_net": enters.name,
        "out_net": leaves.name,
        "out_own": str(leaves.address),
        "out_len": str(leaves.prefix.prefixlen),
        "other": str(other.address) if other is not None else "",
        **_lengths(own, far, int(route.via), dhcp=own.nic.dhcp),
    }
    first = lab.hosts[router].interfaces[0].mac == leaves.nic.mac
    return FaultSite(path.source, router, path.target, first, words, version)


def _has_spare_nic(host: Host) -> bool:
    """Tell whether another NIC on the same network takes over, so that a fault of one is not seen."""
    return any(len(host.nics_on(nic.network)) > 1 for nic in host.interfaces)


def _other(lab: Lab, wires: L3Topology, own: Attachment) -> Attachment | None:
    return next(
        (
            each
            for each in wires.on[own.network]
            if each.host != own.host and lab.hosts[each.host].role is Role.HOST
        ),
        None,
    )


def _lengths(own: Attachment, far: Attachment, gateway: int, *, dhcp: bool) -> dict[str, str]:
    """Return a prefix length that covers the target, and one that leaves out the gateway."""
    if dhcp:
        return {"wide": "", "narrow": ""}  # a lease renewal would repair it
    here, there = int(own.address), int(far.address)
    bits = own.address.max_prefixlen
    wide = bits - (here ^ there).bit_length()
    narrow = bits - (here ^ gateway).bit_length() + 1
    return {
        "wide": str(wide) if 0 < wide < own.prefix.prefixlen else "",
        "narrow": str(narrow) if own.prefix.prefixlen < narrow <= bits - 2 else "",
    }
