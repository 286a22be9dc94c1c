"""Where in a lab faults can be planted so that somebody notices: a pure function of the lab."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.model import Lab, Role
from labrun.inventory.paths import Path, forwarding
from labrun.inventory.wiring import Attachment, wiring
from labrun.tasks.faults.model import Spot

__all__ = ["spots"]

_TARGETS = 2
"""So many targets a source are enough to choose from; a lab of 1,000 hosts has a million pairs."""


def spots(lab: Lab) -> tuple[Spot, ...]:
    """Return the ways from ordinary hosts over a router of the lab to others, IPv4, in file order."""
    return tuple(
        spot for host in lab.hosts.values() if host.role is Role.HOST for spot in _from(lab, host.name)
    )


def _from(lab: Lab, source: str) -> Iterator[Spot]:
    found = 0
    for target, host in lab.hosts.items():
        if target == source or host.role is Role.ROUTER:
            continue
        spot = _spot(lab, forwarding(lab, 4).path(source, target))
        if spot is not None:
            yield spot
            found += 1
        if found == _TARGETS:
            return


def _spot(lab: Lab, path: Path) -> Spot | None:
    wires, ways = wiring(lab, 4), forwarding(lab, 4)
    router = path.way.through[0] if path.way.through else ""
    if path.address is None or path.fault is not None or router not in lab.hosts:
        return None
    route, own = ways.chosen(path.source, path.address), ways.sends_from(path.source, path.address)
    far = next((each for each in wires.of[path.target] if each.address == path.address), None)
    leaves = ways.sends_from(router, path.address)
    enters = next((each for each in wires.of[router] if route and each.network == route.network), None)
    if route is None or route.via is None or own is None or far is None or leaves is None or enters is None:
        return None
    default = route.prefix.prefixlen == 0
    other = _other(lab, own)
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
        "in_net": enters.network,
        "out_net": leaves.network,
        "out_own": str(leaves.address),
        "out_len": str(leaves.prefix.prefixlen),
        "other": str(other.address) if other is not None else "",
        **_lengths(own, far, int(route.via), dhcp=own.nic.dhcp),
    }
    first = lab.hosts[router].interfaces[0].mac == leaves.nic.mac
    return Spot(path.source, router, path.target, first, words)


def _other(lab: Lab, own: Attachment) -> Attachment | None:
    return next(
        (
            each
            for each in wiring(lab, 4).on[own.network]
            if each.host != own.host and lab.hosts[each.host].role is Role.HOST
        ),
        None,
    )


def _lengths(own: Attachment, far: Attachment, gateway: int, *, dhcp: bool) -> dict[str, str]:
    """Return a prefix length that takes in the target, and one that leaves out the gateway."""
    if dhcp:
        return {"wide": "", "narrow": ""}  # a lease that is renewed would put it right by itself
    here, there = int(own.address), int(far.address)
    wide = 32 - (here ^ there).bit_length()
    narrow = 32 - (here ^ gateway).bit_length() + 1
    return {
        "wide": str(wide) if 0 < wide < own.prefix.prefixlen else "",
        "narrow": str(narrow) if own.prefix.prefixlen < narrow <= 30 else "",
    }
