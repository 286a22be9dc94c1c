"""Rows for routes: a host's main table compared with the lab file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_network

from labrun.inventory.model import Lab, Mode, Prefix
from labrun.inventory.topology.expectations import addresses_of
from labrun.inventory.topology.nm_properties import nic_properties
from labrun.inventory.topology.routing import Route, route_table
from labrun.outcome import Fault, Outcome, Status
from labrun.tasks.collect.by_hand import route_commands
from labrun.tasks.collect.capture import Capture
from labrun.tasks.collect.causes import nic_name
from labrun.tasks.collect.links import no_nic
from labrun.tasks.collect.nic_causes import nic_of
from labrun.tasks.collect.route_words import odd_words, route_name
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.state.sections import ADDRESS

__all__ = ["expected_routes", "route_rows"]

_LINK_LOCAL = (ip_network("fe80::/10"), ip_network("ff00::/8"), ip_network("169.254.0.0/16"))


def _meant(route: Route) -> str:
    """Return the expected column of a route's row."""
    if route.kind != "unicast":
        return route.kind
    return "connected" if route.via is None else f"via {route.via}"


def route_rows(lab: Lab, host: str, capture: Capture) -> Iterator[Outcome]:
    """Yield one row per expected route, then one per prefix that should not be there."""
    observed: dict[Prefix, list[ObservedRoute]] = {}
    for route in capture.routes:
        observed.setdefault(route.prefix, []).append(route)
    expected = _expected(lab, host)
    for prefix, meant in expected.items():
        if any(each.in_main for each in meant):
            yield _row(lab, host, capture, meant, observed.get(prefix, []))
    for prefix, found in observed.items():
        counted = [each for each in found if prefix not in expected and _counts(lab, host, capture, each)]
        if counted:
            actual = ", ".join(dict.fromkeys(_text(lab, host, capture, each) for each in counted))
            why = "; ".join(["the lab file has no such route", *_cures(lab, host, capture, counted)])
            hand = route_commands(lab, host, capture, (), counted)
            row = Outcome(
                host, "route", route_name(prefix), Status.FAILED, "absent", actual, why, by_hand=hand
            )
            ways = [each for each in counted if each.is_of_address]
            nic = nic_of(lab, host, capture, ways[0].device) if ways and len(ways) == len(counted) else None
            yield row if nic is None else replace(row, fault=Fault(host, why, ADDRESS.name, nic.name))


def _expected(lab: Lab, host: str) -> dict[Prefix, list[Route]]:
    expected: dict[Prefix, list[Route]] = {}
    for route in route_table(lab, host):
        expected.setdefault(route.prefix, []).append(route)
    return expected


def expected_routes(lab: Lab, host: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the expected column of each row that a host's route table must have."""
    for prefix, meant in _expected(lab, host).items():
        if any(each.in_main for each in meant):
            yield route_name(prefix), _joined(meant)


def _joined(routes: Iterable[Route]) -> str:
    return ", ".join(dict.fromkeys(_meant(route) for route in routes if route.in_main))


def _row(lab: Lab, host: str, capture: Capture, routes: list[Route], found: list[ObservedRoute]) -> Outcome:
    name, expected = route_name(routes[0].prefix), _joined(routes)
    if not found:
        why = "no default route" if routes[0].prefix.prefixlen == 0 else f"no route to {name}"
        hand = route_commands(lab, host, capture, [each for each in routes if each.in_main], ())
        row = Outcome(host, "route", name, Status.FAILED, expected, "absent", why, by_hand=hand)
        useless = _useless_nic(lab, host, capture, routes)
        return row if useless is None else replace(row, fault=Fault(host, why, ADDRESS.name, useless))
    right = [each for each in found if any(_is(lab, host, capture, each, route) for route in routes)]
    ignored = lab.hosts[host].ignored_routes
    first = min((each.metric for each in right), default=0)
    wrong = [
        each
        for each in found
        if each not in right and not each.fits(ignored) and not _stands_back(lab, host, capture, each, first)
    ]
    missing = [
        route
        for route in routes
        if route.in_main and not any(_is(lab, host, capture, each, route) for each in right)
    ]
    texts = dict.fromkeys(_text(lab, host, capture, each) for each in wrong)
    there = dict.fromkeys(
        _meant(route) for route in routes if any(_is(lab, host, capture, each, route) for each in right)
    )
    if right and not wrong and not missing:
        words = {each: [*odd_words(lab, host, capture, each)] for each in right if not each.fits(ignored)}
        odd = ", ".join(dict.fromkeys(word for found in words.values() for word in found))
        if not odd:
            return Outcome(host, "route", name, Status.OK, expected, expected)
        cure = ", ".join(f"`{each.plain}`" for each, found in words.items() if found)
        why = f"the lab file has it without {odd}: {cure}"
        hand = tuple(each.plain for each, found in words.items() if found)
        return Outcome(host, "route", name, Status.FAILED, expected, f"{expected} {odd}", why, by_hand=hand)
    actual = ", ".join([*there, *texts])
    hand = route_commands(lab, host, capture, missing, wrong)
    if right and missing:
        where = ", ".join(f"{_meant(route)} on {route.nic}" for route in missing)
        without = where if set(map(_meant, missing)) & set(there) else _joined(missing)
        return Outcome(
            host, "route", name, Status.FAILED, expected, actual, f"without {without}", by_hand=hand
        )
    cures = _cures(lab, host, capture, wrong)
    if right:
        why = "; ".join(["one too many: " + ", ".join(texts), *cures])
        return Outcome(host, "route", name, Status.FAILED, expected, actual, why, by_hand=hand)
    lost = _lost_nics(lab, host, capture, routes)
    if lost:
        return Outcome(host, "route", name, Status.FAILED, expected, actual, lost)
    why = "; ".join(["it leads elsewhere", *cures])
    return Outcome(host, "route", name, Status.FAILED, expected, actual, why, by_hand=hand)


def _useless_nic(lab: Lab, host: str, capture: Capture, routes: Iterable[Route]) -> str | None:
    """Return the name of a NIC that the routes lead out of and that has no use now, None if all have."""
    for each in routes:
        nic = lab.hosts[host].nic(each.nic)
        link = capture.links.get(nic.mac) if nic is not None else None
        held = {*link.settled, *link.fleeting} if link is not None else set()
        if nic is not None and (link is None or not link.is_up or not held.issuperset(addresses_of(nic))):
            return nic.name
    return None


def _lost_nics(lab: Lab, host: str, capture: Capture, routes: Iterable[Route]) -> str:
    """Return which of the NICs that the routes lead out of is not there, empty if all are."""
    gone = [nic for each in routes if (nic := lab.hosts[host].nic(each.nic)) is not None]
    return "; ".join(dict.fromkeys(no_nic(lab, host, nic) for nic in gone if nic.mac not in capture.links))


def _stands_back(lab: Lab, host: str, capture: Capture, route: ObservedRoute, first: int) -> bool:
    """Tell whether a route is another device's own way into its network, and is never taken.

    A macvlan beside a NIC has one as soon as a router advertises a prefix; ``first`` is the metric of the
    route that is taken.
    """
    on_nic = nic_of(lab, host, capture, route.device) is not None
    return not on_nic and route.protocol in ("kernel", "ra") and route.metric > first


def _cures(lab: Lab, host: str, capture: Capture, wrong: Iterable[ObservedRoute]) -> Iterator[str]:
    """Yield what a person can do about routes that ``configure``, and so ``drift --fix``, leaves alone."""
    left = [each for each in wrong if not _is_removed(lab, host, capture, each)]
    commands = dict.fromkeys(each.removal for each in left if not each.is_of_address)
    if commands:
        yield ", ".join(f"`{each}`" for each in commands) + (
            " removes it" if len(commands) == 1 else " remove them"
        )
    daemons = dict.fromkeys(each.protocol for each in left if not (each.is_by_hand or each.is_of_address))
    for daemon in daemons:
        yield f"`routes: {{ignore: [proto {daemon}]}}` in the lab file tolerates what {daemon} sets"


def _is_removed(lab: Lab, host: str, capture: Capture, route: ObservedRoute) -> bool:
    on_nic = nic_of(lab, host, capture, route.device) is not None
    return on_nic and route.kind == "unicast" and route.is_by_hand


def _is(lab: Lab, host: str, capture: Capture, observed: ObservedRoute, route: Route) -> bool:
    if observed.kind != route.kind:
        return False
    if route.kind != "unicast":
        return True  # it has no device
    if nic_name(lab, host, capture, observed.device) != route.nic:
        return False
    if route.origin == "dhcp" and observed.via is not None and observed.via.is_link_local:
        return True  # a router advertisement names the router by its link-local address
    return observed.via == route.via


def _text(lab: Lab, host: str, capture: Capture, route: ObservedRoute) -> str:
    if route.kind != "unicast":
        return route.kind
    way = f"via {route.via}" if route.via is not None else "connected"
    return f"{way} on {nic_name(lab, host, capture, route.device)}"


def _counts(lab: Lab, host: str, capture: Capture, route: ObservedRoute) -> bool:
    """Tell whether an unexpected route is one too many; routes that come and go by themselves are not."""
    if route.fits(lab.hosts[host].ignored_routes):
        return False
    if route.protocol == "ra" or any(
        local.version == route.prefix.version and route.prefix.subnet_of(local)  # type: ignore[arg-type]
        for local in _LINK_LOCAL
    ):
        return False
    nic = nic_of(lab, host, capture, route.device)
    if nic is None:
        # A bridge or tunnel set up in the guest is fine, unless it hides something the lab needs.
        return route.kind != "unicast" or _takes_away(lab, route)
    automatic = nic_properties(nic, 4 if route.prefix.version == 4 else 6).is_automatic
    if route.protocol == "dhcp" and (automatic or (nic.dhcp and lab.hosts[host].address is not None)):
        return False  # announced by a DHCP server that labrun does not run
    if nic.ipv4 is None and nic.dhcp and lab.networks[nic.network].mode in (Mode.BRIDGE, Mode.MACVTAP):
        return False
    link = capture.links.get(nic.mac)
    own = [each.network for each in (*link.fleeting, *link.settled)] if link else []
    fleeting = [each.network for each in link.fleeting] if link else []
    if route.protocol == "dhcp" and route.via is None and route.prefix.num_addresses == 1:
        # systemd-networkd gives a lease's gateway and servers routes that lead where their subnet's does.
        return not any(route.prefix.network_address in each for each in own)
    # An address alone on its subnet gets a route to itself.
    alone = route.prefix.num_addresses == 1 and route.prefix in own
    return not (route.protocol == "kernel" and (alone or route.prefix in fleeting))


def _takes_away(lab: Lab, route: ObservedRoute) -> bool:
    subnets = [each for network in lab.networks.values() for each in (network.cidr, network.cidr6) if each]
    return route.prefix.prefixlen == 0 or any(each.overlaps(route.prefix) for each in subnets)
