"""Rows for addresses and routes: a host's NICs and main table compared with the lab file."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_network

from labrun.inventory.model import Interface, Lab, Mode, Prefix
from labrun.inventory.topology.routing import Route, default_prefix, route_table
from labrun.inventory.topology.wiring import wiring
from labrun.outcome import Nic, Outcome, Status
from labrun.tasks.collect.capture import Capture
from labrun.tasks.collect.causes import network_of
from labrun.tasks.collect.schedule import LARGEST
from labrun.tasks.guest.facts.links import Link
from labrun.tasks.guest.facts.routes import ObservedRoute

__all__ = ["address_rows", "expected_addresses", "expected_route", "route_name", "route_rows"]

_LINK_LOCAL = (ip_network("fe80::/10"), ip_network("ff00::/8"), ip_network("169.254.0.0/16"))
_ANY = "an address by DHCP"


def expected_addresses(nic: Interface) -> str:
    """Return the expected column of a NIC's row."""
    return " ".join(str(each) for each in (nic.ipv4, nic.ipv6) if each is not None) or _ANY


def address_rows(lab: Lab, host: str, capture: Capture) -> Iterator[Outcome]:
    """Yield one row per NIC: the permanent addresses it should have, and no others."""
    for nic in lab.hosts[host].interfaces:
        link = capture.links.get(nic.mac)
        if link is None:
            known = f"the MAC {nic.mac}" if nic.mac else f"an address of {nic.network}, and no `mac` is named"
            actual, why = "absent", f"no NIC of {host} has {known}"
        else:
            actual, why = _addresses(lab, host, nic, link)
        status = Status.FAILED if why else Status.OK
        about = Nic(host, nic.network)
        yield Outcome(
            host, "address", nic.network, status, expected_addresses(nic), actual, why, subject=about
        )


def _addresses(lab: Lab, host: str, nic: Interface, link: Link) -> tuple[str, str]:
    """Return the NIC's actual state, and the fault in it ("" = none)."""
    want = [each for each in (nic.ipv4, nic.ipv6) if each is not None]
    have = {*link.settled, *link.fleeting}
    # Any lease from a foreign DHCP server is right.
    given = [each for each in link.settled if each.version == 4] if nic.ipv4 is None and nic.dhcp else []
    surplus = [each for each in link.settled if each not in want and each not in given]
    shown = [each for each in want if each in have] + given
    other = next((each for each in surplus for meant in want if each.ip == meant.ip), None)
    why = ""
    if not link.is_up:
        why = f"{link.name} is down"
    elif not link.has_arp:
        why = f"ARP is switched off on {link.name}"
    elif other is not None:
        why = f"{link.name} has it with another prefix: /{other.network.prefixlen}"
    elif len(shown) < len(want) or not shown:
        why = f"{link.name} does not have it"
    elif surplus:
        why = "one too many: " + " ".join(_of_whom(lab, host, each) for each in surplus)
    elif (mtu := _expected_mtu(lab, host, nic)) is not None and link.mtu not in (None, mtu):
        why = f"{link.name} has the MTU {link.mtu}, not {mtu}"
    return " ".join(str(each) for each in (*shown, *surplus)) or "none", why


def _of_whom(lab: Lab, host: str, address: IPv4Interface | IPv6Interface) -> str:
    owner = wiring(lab, 4 if address.version == 4 else 6).owner.get(address.ip)
    return f"{address}, which is {owner}'s" if owner not in (None, host) else str(address)


def _expected_mtu(lab: Lab, host: str, nic: Interface) -> int | None:
    """Return the MTU that the NIC must have; None on a network that the lab does not define."""
    given = nic.nmcli.get("802-3-ethernet.mtu") or nic.nmcli.get("ethernet.mtu")
    if given is not None:
        return int(given) if str(given).isdecimal() and int(given) else None
    network = lab.networks[nic.network]
    foreign = lab.hosts[host].machine is None or network.mode in (Mode.BRIDGE, Mode.MACVTAP)
    return None if foreign else network.mtu or LARGEST


def route_name(prefix: Prefix) -> str:
    """Return a route's name in the table; ``default`` means IPv4."""
    return "default" if prefix == default_prefix(4) else str(prefix)


def expected_route(route: Route) -> str:
    """Return the expected column of a route's row."""
    return "connected" if route.via is None else f"via {route.via}"


def route_rows(lab: Lab, host: str, capture: Capture) -> Iterator[Outcome]:
    """Yield one row per expected route, then one per prefix that should not be there."""
    observed: dict[Prefix, list[ObservedRoute]] = {}
    for route in capture.routes:
        observed.setdefault(route.prefix, []).append(route)
    expected = {route.prefix: route for route in route_table(lab, host)}
    for prefix, meant in expected.items():
        yield _row(lab, host, capture, meant, observed.get(prefix, []))
    for prefix, found in observed.items():
        counted = [each for each in found if prefix not in expected and _counts(lab, host, capture, each)]
        if counted:
            actual = ", ".join(dict.fromkeys(_text(lab, host, capture, each) for each in counted))
            why = "the lab file has no such route"
            yield Outcome(host, "route", route_name(prefix), Status.FAILED, "absent", actual, why)


def _row(lab: Lab, host: str, capture: Capture, route: Route, found: list[ObservedRoute]) -> Outcome:
    name, expected = route_name(route.prefix), expected_route(route)
    if not found:
        why = "no default route" if route.prefix.prefixlen == 0 else f"no route to {name}"
        return Outcome(host, "route", name, Status.FAILED, expected, "absent", why)
    right = [each for each in found if _is(lab, host, capture, each, route)]
    wrong = [each for each in found if each not in right]
    texts = dict.fromkeys(_text(lab, host, capture, each) for each in wrong)
    if right and not wrong:
        return Outcome(host, "route", name, Status.OK, expected, expected)
    if right:
        why = "one too many: " + ", ".join(texts)
        return Outcome(host, "route", name, Status.FAILED, expected, f"{expected}, {', '.join(texts)}", why)
    return Outcome(host, "route", name, Status.FAILED, expected, ", ".join(texts), "it leads elsewhere")


def _is(lab: Lab, host: str, capture: Capture, observed: ObservedRoute, route: Route) -> bool:
    if observed.kind != "unicast" or network_of(lab, host, capture, observed.device) != route.network:
        return False
    if route.origin == "dhcp" and observed.via is not None and observed.via.is_link_local:
        return True  # a router advertisement names the router by its link-local address
    return observed.via == route.via


def _text(lab: Lab, host: str, capture: Capture, route: ObservedRoute) -> str:
    if route.kind != "unicast":
        return route.kind
    network = network_of(lab, host, capture, route.device)
    way = f"via {route.via}" if route.via is not None else "connected"
    return f"{way} on {network}"


def _counts(lab: Lab, host: str, capture: Capture, route: ObservedRoute) -> bool:
    """Tell whether an unexpected route is one too many; routes that come and go by themselves are not."""
    if route.protocol == "ra" or any(
        local.version == route.prefix.version and route.prefix.subnet_of(local)  # type: ignore[arg-type]
        for local in _LINK_LOCAL
    ):
        return False
    by_network = {nic.network: nic for nic in lab.hosts[host].interfaces}
    nic = by_network.get(network_of(lab, host, capture, route.device))
    if nic is None:
        # A bridge or tunnel set up in the guest is fine, unless it hides something the lab needs.
        return route.kind != "unicast" or _takes_away(lab, route)
    if nic.dhcp and route.protocol == "dhcp" and lab.hosts[host].address is not None:
        return False  # announced by the DHCP server of an existing machine
    if nic.ipv4 is None and nic.dhcp and lab.networks[nic.network].mode in (Mode.BRIDGE, Mode.MACVTAP):
        return False
    link = capture.links.get(nic.mac)
    fleeting = [each.network for each in link.fleeting] if link else []
    return not (route.protocol == "kernel" and route.prefix in fleeting)


def _takes_away(lab: Lab, route: ObservedRoute) -> bool:
    subnets = [each for network in lab.networks.values() for each in (network.cidr, network.cidr6) if each]
    return route.prefix.prefixlen == 0 or any(each.overlaps(route.prefix) for each in subnets)
