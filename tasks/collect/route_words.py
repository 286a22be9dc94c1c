"""What a route says besides where it leads: the source of the host's own packets, and an MTU of its own."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.model import Lab, Prefix
from labrun.inventory.topology.nm_properties import mtu_of
from labrun.inventory.topology.routing import default_prefix
from labrun.inventory.topology.wiring import Version, wiring
from labrun.tasks.collect.capture import Capture
from labrun.tasks.collect.schedule import LARGEST
from labrun.tasks.guest.facts.routes import ObservedRoute

__all__ = ["has_foreign_source", "odd_words", "route_name"]

# These get both from the kernel, a lease or an advertisement.
_BY_OTHERS = frozenset({"kernel", "dhcp", "ra"})


def route_name(prefix: Prefix) -> str:
    """Return the name of a route's row; ``default`` means IPv4."""
    return "default" if prefix == default_prefix(4) else str(prefix)


def odd_words(lab: Lab, host: str, capture: Capture, route: ObservedRoute) -> Iterator[str]:
    """Yield what a route has, in the words of ``ip route``, that makes packets differ from the lab file's.

    What the ``nmcli:`` properties of the host's NICs say of any route is as in the file.
    """
    said = {
        word for nic in lab.hosts[host].interfaces for value in nic.nmcli.values() for word in value.split()
    }
    if has_foreign_source(lab, host, capture, route) and f"src={route.source}" not in said:
        yield f"src {route.source}"
    small = route.mtu is not None and 0 < route.mtu < _size(lab, host, capture, route)
    if small and route.protocol not in _BY_OTHERS and f"mtu={route.mtu}" not in said:
        yield f"mtu {route.mtu}"


def has_foreign_source(lab: Lab, host: str, capture: Capture, route: ObservedRoute) -> bool:
    """Tell whether a route has packets sent from an address neither in the lab file nor on a NIC of it."""
    if route.source is None or route.protocol in _BY_OTHERS:
        return False
    version: Version = 4 if route.source.version == 4 else 6
    own = {each.address for each in wiring(lab, version).of[host]}
    nics = [capture.links[nic.mac] for nic in lab.hosts[host].interfaces if nic.mac in capture.links]
    devices = [link for link in capture.devices if link.name == route.device]
    held = {each.interface.ip for link in (*nics, *devices) for each in link.held}
    return route.source not in own | held


def _size(lab: Lab, host: str, capture: Capture, route: ObservedRoute) -> int:
    """Return the MTU in bytes of the route's NIC by the lab file; 0 if it is not known."""
    for nic in lab.hosts[host].interfaces:
        link = capture.links.get(nic.mac)
        if link is not None and link.name == route.device:
            return mtu_of(nic) or lab.networks[nic.network].mtu or LARGEST
    return 0
