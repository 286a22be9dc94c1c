"""Why packets do not get through, read from what all hosts on the way showed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from labrun.inventory.model import Address, Lab, Prefix
from labrun.inventory.paths import Path, forwarding
from labrun.inventory.routing import Route
from labrun.inventory.wiring import HYPERVISOR_NODE, Version, wiring
from labrun.outcome import Status
from labrun.tasks.collect.capture import Capture, ObservedRoute, Unreachable

__all__ = ["Shown", "cause", "network_of", "not_asked"]


@dataclass(frozen=True, slots=True)
class Shown:
    """What all hosts showed; a host that was not asked is missing from ``captures``."""

    lab: Lab
    captures: Mapping[str, Capture | Unreachable]

    def capture(self, host: str) -> Capture | None:
        """Return what a host showed, None where it showed nothing."""
        found = self.captures.get(host)
        return found if isinstance(found, Capture) else None

    def silence(self, host: str) -> Unreachable | None:
        """Return why a host that was asked showed nothing, None where it did show something."""
        found = self.captures.get(host)
        return found if isinstance(found, Unreachable) else None


def not_asked(host: str) -> Unreachable:
    """Return what stands for a host that is missing from the captures."""
    return Unreachable(f"{host} was not asked", Status.UNKNOWN)


def cause(shown: Shown, path: Path) -> str | None:
    """Return the first thing that is wrong on the way there or back, None where nothing is seen.

    Ends that do not answer are no cause: the caller knows them.
    """
    version: Version = 6 if path.address is not None and path.address.version == 6 else 4
    own = forwarding(shown.lab, version).sends_from(path.source, path.address) if path.address else None
    if path.address is None or own is None:
        return None
    wrong = (
        *_along(shown, (path.source, *path.way.through), path.address, path),
        *_along(shown, (path.target, *path.way.back), own.address, path),
    )
    return next(iter(wrong), None)


def _along(shown: Shown, nodes: tuple[str, ...], to: Address, path: Path) -> Iterator[str]:
    for node in nodes:
        if node == HYPERVISOR_NODE:
            continue
        capture = shown.capture(node)
        if capture is None:
            if shown.silence(node) is not None and node not in (path.source, path.target):
                yield f"{node} does not answer"
            continue
        if node is not nodes[0]:
            yield from _not_forwarding(node, capture, to)
        yield from _wrong_way(shown, node, capture, to)


def _not_forwarding(node: str, capture: Capture, to: Address) -> Iterator[str]:
    if capture.forwards(to.version) is False:
        key = "net.ipv4.ip_forward" if to.version == 4 else "net.ipv6.conf.all.forwarding"
        yield f"{node}: {key} is 0"


def _wrong_way(shown: Shown, node: str, capture: Capture, to: Address) -> Iterator[str]:
    version: Version = 4 if to.version == 4 else 6
    ways = forwarding(shown.lab, version)
    expected = ways.chosen(node, to)
    own = ways.sends_from(node, to)
    if expected is None or own is None:
        return
    link = capture.links.get(own.nic.mac)
    if link is None:
        yield f"{node}: no NIC has {own.nic.mac}, its MAC on {own.network}"
        return
    if not link.is_up:
        yield f"{node}: {link.name} ({own.network}) is down"
        return
    if own.address not in [each.ip for each in (*link.addresses, *link.fleeting)]:
        yield f"{node}: {own.address} is missing on {own.network}"
    observed = _best(capture.routes, to)
    goal = _goal(shown.lab, to, version)
    if observed is None:
        yield f"{node}: no route to {goal}"
    elif observed.kind != "unicast":
        yield f"{node}: a {observed.kind} route to {observed.prefix}"
    elif not _same_way(observed, expected, link.name):
        network = network_of(shown.lab, node, capture, observed.device)
        there = f"out of {network}" if observed.via is None else f"via {observed.via}"
        yield f"{node}: {to} is sent {there}, not {_meant(expected)}"


def _best(routes: tuple[ObservedRoute, ...], to: Address) -> ObservedRoute | None:
    fitting = [route for route in routes if route.prefix.version == to.version and to in route.prefix]
    return min(fitting, key=lambda route: (-route.prefix.prefixlen, route.metric), default=None)


def _same_way(observed: ObservedRoute, expected: Route, device: str) -> bool:
    if observed.device != device:
        return False
    announced = expected.origin == "dhcp" and observed.via is not None and observed.via.is_link_local
    return announced or observed.via == expected.via


def _meant(expected: Route) -> str:
    return f"via {expected.via}" if expected.via is not None else f"out of {expected.network}"


def _goal(lab: Lab, to: Address, version: Version) -> Prefix | Address:
    wires = wiring(lab, version)
    owner = wires.owner.get(to)
    return next((own.prefix for own in wires.of[owner] if own.address == to), to) if owner else to


def network_of(lab: Lab, host: str, capture: Capture, device: str) -> str:
    """Name a device by the lab network that its MAC belongs to, else by itself."""
    mac = capture.mac_of(device)
    return next((nic.network for nic in lab.hosts[host].interfaces if nic.mac == mac), device or "nowhere")
