"""The stanzas of ifupdown that give a NIC what its profile in the lab asks for (interfaces(5)).

What differs between ifupdown and ifupdown-ng is written as commands, which both run.
"""

from __future__ import annotations

from collections.abc import Iterator

from labrun.tasks.guest.facts.ifupdown import FOLDER
from labrun.tasks.guest.keyfile import Intent, Sections, intent

__all__ = ["PREFIX", "file_path", "file_text"]

PREFIX = f"{FOLDER}/labrun-"
_ACCEPT_RA = "/proc/sys/net/ipv6/conf/$IFACE/accept_ra"


def file_path(nic: str) -> str:
    """Return the path of labrun's file for the NIC of this name."""
    return f"{PREFIX}{nic}"


def file_text(sections: Sections, interface: str, metric: int, below: str = "") -> str:
    """Return the stanzas of an interface; ``metric`` is that of the routes for which none is given.

    Without one, a default would take the place of another NIC's. ``below`` is the NIC that carries a VLAN.
    """
    four, six = intent(sections, 4), intent(sections, 6)
    announced = six.method == "auto" and "ipv6" in sections
    lines = [f"auto {interface}"]
    lines += _family4(sections, four, interface, metric, below, announced=announced)
    if announced or six.addresses:
        lines += _family6(sections, six, interface, metric)
    return "".join(f"{line}\n" for line in lines)


def _family4(
    sections: Sections, meant: Intent, interface: str, metric: int, below: str, *, announced: bool
) -> Iterator[str]:
    method = "static" if meant.addresses else "manual"
    if meant.method == "auto":
        method = "dhcp"
    yield f"iface {interface} inet {method}"
    if method == "static":
        yield f"    address {meant.addresses[0]}"
    if below:
        own, tag = sections["ethernet"]["cloned-mac-address"], sections["vlan"]["id"]
        yield f"    pre-up ip link set dev {below} up"
        make = f"ip link add link {below} name $IFACE address {own} type vlan id {tag}"
        yield f"    pre-up [ -e /sys/class/net/$IFACE ] || {make}"
    # Before anything takes the link up, so in the first stanza. 2: a router takes what another announces.
    yield f"    pre-up echo {2 if announced else 0} >{_ACCEPT_RA} || :"
    mtu = sections.get("ethernet", {}).get("mtu", "")
    if mtu:
        yield f"    pre-up ip link set dev $IFACE mtu {mtu}"
    yield from _servers(meant)
    if method == "manual":
        yield "    up ip link set dev $IFACE up"
    yield from (f"    up ip address replace {address} dev $IFACE" for address in meant.addresses[1:])
    if method == "dhcp" and not meant.keeps_announced_default:
        yield "    up ip -4 route flush default dev $IFACE"
    yield from _routes(meant, 4, metric)


def _family6(sections: Sections, meant: Intent, interface: str, metric: int) -> Iterator[str]:
    if meant.addresses:
        yield f"iface {interface} inet6 static"
        yield f"    address {meant.addresses[0]}"
        yield from (f"    up ip address replace {address} dev $IFACE" for address in meant.addresses[1:])
    else:
        by_lease = "dhcp-hostname" in sections.get("ipv6", {})
        yield f"iface {interface} inet6 {'dhcp' if by_lease else 'auto'}"
        # ifupdown sets it, to 1, unless it is told.
        yield "    accept_ra 2"
        if not meant.keeps_announced_default:
            yield "    up ip -6 route flush default dev $IFACE"
    yield from _servers(meant)
    yield from _routes(meant, 6, metric)


def _servers(meant: Intent) -> Iterator[str]:
    if meant.dns:
        yield f"    dns-nameservers {' '.join(meant.dns)}"
    if meant.searches:
        yield f"    dns-search {' '.join(meant.searches)}"


def _routes(meant: Intent, version: int, metric: int) -> Iterator[str]:
    if meant.metric is not None:
        # The kernel's own route to the subnet, by which packets to it leave.
        for address in meant.addresses:
            yield f"    up ip address change {address} dev $IFACE metric {meant.metric}"
    for hop in sorted(meant.routes, key=lambda hop: (hop.prefix, str(hop.via))):
        target = "default" if hop.prefix.prefixlen == 0 else str(hop.prefix)
        gateway = f" via {hop.via}" if hop.via is not None else ""
        for own in sorted(meant.metrics.get(hop, ())) or [metric if meant.metric is None else meant.metric]:
            yield f"    up ip -{version} route replace {target}{gateway} dev $IFACE metric {own}"
