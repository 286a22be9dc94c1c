"""The commands by which a person mends an address or a route at once, in a root shell of its host."""

from __future__ import annotations

from collections.abc import Iterable

from labrun.inventory.model import Interface, Lab
from labrun.inventory.topology.expectations import addresses_of
from labrun.inventory.topology.routing import Route
from labrun.tasks.collect.capture import Capture
from labrun.tasks.guest.facts.links import Link
from labrun.tasks.guest.facts.routes import ObservedRoute

__all__ = ["address_commands", "route_commands"]


def address_commands(
    nic: Interface, link: Link | None, *, leased: bool, mtu: int | None = None
) -> tuple[str, ...]:
    """Return what gives a NIC its declared addresses and takes the others away.

    ``leased`` = its IPv4 address is any that a DHCP server gives. ``mtu`` is the size in bytes that it should
    have, None for any. Empty without a ``link``: nothing typed in the guest makes a NIC.
    """
    if link is None:
        return ()
    device, want = f"dev {link.name}", addresses_of(nic)
    held = {*link.settled, *link.fleeting}
    surplus = [each for each in link.settled if each not in want and not (leased and each.version == 4)]
    lines = [f"ip link set {device} nomaster"] if link.port_of else []
    lines += [] if link.has_arp else [f"ip link set {device} arp on"]
    lines += [] if link.is_up else [f"ip link set {device} up"]
    lines += [f"ip address del {each} {device}" for each in surplus]
    lines += [f"ip address add {each} {device}" for each in want if each not in held]
    lines += [f"ip link set {device} mtu {mtu}"] if mtu is not None and link.mtu not in (None, mtu) else []
    return tuple(lines)


def route_commands(
    lab: Lab, host: str, capture: Capture, missing: Iterable[Route], wrong: Iterable[ObservedRoute]
) -> tuple[str, ...]:
    """Return what removes the routes that are ``wrong`` and adds those that are ``missing``.

    Empty if the NIC of a missing route cannot be used: the route comes back, or can be added, once it can.
    """
    lines = [each.removal for each in wrong]
    for route in missing:
        nic = lab.hosts[host].nic(route.nic)
        link = capture.links.get(nic.mac) if nic is not None else None
        if link is None or not link.is_up or route.kind != "unicast":
            return ()
        words = ["ip", *(["-6"] if route.prefix.version == 6 else []), "route", "replace"]
        words.append("default" if route.prefix.prefixlen == 0 else str(route.prefix))
        words += ["via", str(route.via)] if route.via is not None else []
        lines.append(" ".join([*words, "dev", link.name]))
    return tuple(lines)
