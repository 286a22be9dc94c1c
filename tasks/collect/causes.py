"""Why packets do not get through, derived from the reports of all hosts on the path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from labrun.inventory.model import Address, Lab, Prefix
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.paths import Forwarding, forwarding
from labrun.inventory.topology.routing import Route
from labrun.inventory.topology.wiring import HYPERVISOR_NODE, Version, wiring
from labrun.tasks.collect.filter_causes import (
    Passage,
    best_route,
    dropped,
    not_forwarded,
    policy_findings,
    reverse_path,
)
from labrun.tasks.collect.nic_causes import (
    CAUSE,
    SILENT,
    SYMPTOM,
    Finding,
    Shown,
    neighbour_findings,
    network_of,
    nic_findings,
    not_asked,
    small_links,
)
from labrun.tasks.guest.facts.routes import ObservedRoute

__all__ = ["Cause", "Shown", "cause", "cause_of_drop", "cause_of_loss", "network_of", "not_asked"]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something does not get through, and the host at fault if there is one."""

    why: str
    blamed: str | None = None


def cause(shown: Shown, path: Path, *, size: int = 60) -> Cause | None:
    """Return the fault on the forward or return path, None if none is seen.

    ``size`` is the packet size in bytes. An unresponsive end is not a cause, nor is anything that
    follows from its silence: the caller handles those.
    """
    ends = _ends(shown, path)
    if ends is None or path.address is None:
        return None
    own, _ = ends
    there = (path.source, *path.way.through, path.target)
    back = (path.target, *path.way.back, path.source)
    found = [
        *_along(shown, path, there, (own, path.address), size, back=False),
        *_along(shown, path, back, (path.address, own), size, back=True),
    ]
    silent = shown.capture(path.source) is None or shown.capture(path.target) is None
    best = min(found, key=lambda each: each.rank, default=None)
    return None if best is None or (silent and best.rank == SYMPTOM) else Cause(best.text, best.at)


def cause_of_drop(shown: Shown, path: Path, port: int) -> Cause | None:
    """Return the nftables rule on the path that drops TCP connections to a port, None if none may."""
    ends = _ends(shown, path)
    if ends is None or path.address is None or path.fault is not None:
        return None
    there = (path.source, *path.way.through, path.target)
    found = _along(shown, path, there, (ends[0], path.address), 60, back=False, port=port)
    best = min((each for each in found if each.rank != SILENT), key=lambda each: each.rank, default=None)
    return None if best is None else Cause(best.text, best.at)


def cause_of_loss(shown: Shown, path: Path, lost: str, size: int) -> Cause | None:
    """Return why pings of ``size`` bytes are lost although a trace got through; None if that is fine."""
    capture = shown.capture(path.target)
    if lost == "echo":
        # A host may refuse echo and be fine; only what contradicts the lab file counts.
        key = "net.ipv4.icmp_echo_ignore_all"
        ignores = capture is not None and bool(capture.evidence.setting("icmp_echo_ignore_all"))
        meant = shown.lab.hosts[path.target].sysctl.get(key, "0").strip() != "0"
        why = f"{path.target}: {key} is 1: no answer to pings"
        return Cause(why, path.target) if ignores and not meant else None
    nodes = (path.source, *path.way.through, path.target, *path.way.back)
    hosts = tuple(dict.fromkeys(node for node in nodes if node != HYPERVISOR_NODE))
    small = next(small_links(shown, hosts, size), None)
    found = Cause(small.text, small.at) if small is not None else cause(shown, path, size=size)
    found = found or Cause("no host on the way shows why")
    return Cause(f"packets of {size} bytes get lost, small ones do not: {found.why}", found.blamed)


def _ends(shown: Shown, path: Path) -> tuple[Address, Forwarding] | None:
    if path.address is None:
        return None
    ways = forwarding(shown.lab, 6 if path.address.version == 6 else 4)
    own = ways.sends_from(path.source, path.address)
    return None if own is None else (own.address, ways)


def _along(
    shown: Shown,
    path: Path,
    nodes: tuple[str, ...],
    ends: tuple[Address, Address],
    size: int,
    *,
    back: bool,
    port: int = 0,
) -> Iterator[Finding]:
    """Yield the faults at each node from first to last; with a port only what drops that."""
    came: str | None = None
    for place, node in enumerate(nodes):
        if node == HYPERVISOR_NODE:
            came = ""  # which of the hypervisor's networks it came by does not matter to the next node
            continue
        last = place == len(nodes) - 1
        version: Version = 6 if ends[1].version == 6 else 4
        ways = forwarding(shown.lab, version)
        source, target = _carried(path, place, ends, back=back)
        route = None if last else ways.chosen(node, target)
        leaves = route.network if route is not None else None
        capture = shown.capture(node)
        if capture is None:
            if shown.silence(node) is not None and node not in (path.source, path.target):
                yield Finding(SILENT, f"{node} does not answer")
        else:
            at = Passage(node, capture, source, target, came if place else None, leaves, size, port)
            judge = partial(dropped, shown, at) if port else partial(_at, shown, at, place, len(nodes))
            yield from shown.told(node, judge if port else partial(judge, back=back))
        came = leaves


def _carried(path: Path, place: int, ends: tuple[Address, Address], *, back: bool) -> tuple[Address, Address]:
    """Return a packet's addresses at a point of the path; a router may translate the source."""
    if back:
        return ends[0], path.way.returned_to(place, ends[1])
    return path.way.seen_by(place, ends[0]), ends[1]


def _at(shown: Shown, at: Passage, place: int, count: int, *, back: bool) -> Iterator[Finding]:
    if place == 0:
        ttl = at.capture.evidence.setting("ip_default_ttl")
        if at.target.version == 4 and ttl is not None and ttl < count - 1:
            yield Finding(CAUSE, f"net.ipv4.ip_default_ttl is {ttl}", at.node)
    else:
        if place < count - 1:
            yield from not_forwarded(shown, at)
        yield from reverse_path(shown, at)
    if place < count - 1:
        yield from _sending(shown, at, back=back)
    yield from dropped(shown, at)


def _sending(shown: Shown, at: Passage, *, back: bool) -> Iterator[Finding]:
    """Yield the faults in how a node sends a packet on."""
    ways = forwarding(shown.lab, 4 if at.target.version == 4 else 6)
    expected, own = ways.chosen(at.node, at.target), ways.sends_from(at.node, at.target)
    if expected is None or own is None:
        return
    link = at.capture.links.get(own.nic.mac)
    yield from nic_findings(at.node, own, link)
    if link is None or not link.is_up:
        return
    yield from policy_findings(at)
    yield from _wrong_way(shown, at, expected, link.name, back=back)
    following = expected.via if expected.via is not None else at.target
    yield from neighbour_findings(shown, at.node, at.capture, link, own, following)


def _wrong_way(shown: Shown, at: Passage, expected: Route, device: str, *, back: bool) -> Iterator[Finding]:
    observed = best_route(at.capture.routes, at.target)
    if observed is None:
        goal = _goal(shown.lab, at.target, 4 if at.target.version == 4 else 6)
        yield Finding(CAUSE, f"no route {'back ' if back else ''}to {goal}", at.node)
    elif observed.kind != "unicast":
        yield Finding(CAUSE, f"a {observed.kind} route to {observed.prefix}", at.node)
    elif not _same_way(observed, expected, device):
        network = network_of(shown.lab, at.node, at.capture, observed.device)
        there = f"out of {network}" if observed.via is None else f"via {observed.via}"
        yield Finding(CAUSE, f"{at.target} is sent {there}, not {_meant(expected)}", at.node)


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
