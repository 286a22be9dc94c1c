"""Why packets do not get through, derived from the reports of all hosts on the path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from labrun.inventory.model import Address
from labrun.inventory.topology.forwarding import forwarding
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.wiring import HYPERVISOR_NODE, Attachment, Version, wiring
from labrun.outcome import Fault
from labrun.tasks.collect.filter_causes import (
    Passage,
    blocked_by_policy,
    dropped,
    kept_here,
    not_forwarded,
    policy_findings,
    redirected,
    reverse_path,
    rewritten,
    sent_from_elsewhere,
    too_rare,
    translated,
    untracked,
)
from labrun.tasks.collect.nic_causes import (
    CAUSE,
    SILENT,
    SYMPTOM,
    Finding,
    Shown,
    neighbour_findings,
    nic_findings,
    nic_name,
    not_asked,
    small_links,
)
from labrun.tasks.collect.ways import wrong_way
from labrun.tasks.guest.facts.nft_rules import Proto
from labrun.tasks.state.sections import SYSCTL

__all__ = [
    "Cause",
    "Judge",
    "Shown",
    "cause",
    "cause_of_drop",
    "cause_of_hole",
    "cause_of_loss",
    "cause_of_translation",
    "nic_name",
    "not_asked",
    "there_and_back",
]


Judge = Callable[[Shown, Passage, int, int, bool], Iterator[Finding]]
"""Finds faults at one node of a path: its place among how many, and whether this is the way back."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something does not get through, and the host at fault if there is one."""

    why: str
    blamed: str | None = None
    fault: Fault | None = None

    @classmethod
    def of(cls, found: Finding) -> Cause:
        """Return the cause that a finding is."""
        return cls(found.text, found.at, found.fault)

    def put(self, why: str) -> Cause:
        """Return the same cause with other words for what follows from it."""
        return replace(self, why=why)


def cause(shown: Shown, path: Path, *, size: int = 60) -> Cause | None:
    """Return the fault on the forward or return path, None if none is seen.

    ``size`` is the packet size in bytes. An unresponsive end is not a cause, nor is anything that
    follows from its silence: the caller handles those.
    """
    # Whatever else a trace tried, it ended with echoes.
    best = min(there_and_back(shown, path, _at, size, echo=True), key=lambda each: each.rank, default=None)
    silent = any(
        shown.capture(end) is None or shown.silence(end) is not None for end in (path.source, path.target)
    )
    return None if best is None or (silent and best.rank == SYMPTOM) else Cause.of(best)


def cause_of_drop(shown: Shown, path: Path, port: int) -> Cause | None:
    """Return the nftables rule on the path that drops TCP connections to a port, None if none may."""
    return _first_drop(shown, path, port)


def cause_of_hole(shown: Shown, path: Path, node: str, address: Address | None) -> str:
    """Return what keeps a node on the way from telling where a trace ended, empty if nothing is seen."""
    ends, capture = _ends(shown, path), shown.capture(node)
    if ends is None or capture is None or address is None:
        return ""
    ways = forwarding(shown.lab, 4 if address.version == 4 else 6)
    back = ways.chosen(node, ends.address)
    leaves = back.nic if back is not None else None
    at = Passage(node, capture, address, ends.address, None, leaves, icmp="time-exceeded", state="related")
    found = shown.told(node, lambda: (*too_rare(at), *dropped(shown, at)))
    return next((each.text for each in found if each.rank == CAUSE), "")


def cause_of_translation(shown: Shown, path: Path) -> Cause | None:
    """Return the rule, not in the lab file, that certainly changes the addresses on the way to the target."""
    if path.fault is not None or not any(
        map(shown.translates, (path.source, *path.way.through, path.target))
    ):
        return None
    found = there_and_back(shown, path, _translation_at)
    return _best(each for each in found if each.rank == CAUSE)


def _first_drop(shown: Shown, path: Path, port: int = 0, *, echo: bool = False) -> Cause | None:
    """Return the rule that drops connections to a port or, with ``echo``, pings and their answers."""
    if path.fault is not None:
        return None
    found = there_and_back(shown, path, _drop_at, port=port, echo=echo)
    return _best(each for each in found if each.rank != SILENT)


def _best(found: Iterable[Finding]) -> Cause | None:
    best = min(found, key=lambda each: each.rank, default=None)
    return None if best is None else Cause.of(best)


def there_and_back(
    shown: Shown,
    path: Path,
    judge: Judge,
    size: int = 60,
    port: int = 0,
    *,
    echo: bool = False,
    proto: Proto = "tcp",
) -> Iterator[Finding]:
    """Yield the findings on the way to the target and, for a probe, on the way back."""
    ends = _ends(shown, path)
    if ends is None or path.address is None:
        return
    there = (path.source, *path.way.through, path.target)
    icmp = "echo-request" if echo else ""
    to = (ends.address, path.address)
    yield from _along(shown, path, there, to, size, judge, back=False, port=port, icmp=icmp, proto=proto)
    if not port:
        back = (path.target, *path.way.back, path.source)
        icmp = "echo-reply" if echo else ""
        yield from _along(shown, path, back, (to[1], to[0]), size, judge, back=True, icmp=icmp)


def cause_of_loss(shown: Shown, path: Path, lost: str, size: int) -> Cause | None:
    """Return why pings of ``size`` bytes are lost although a trace got through; None if that is fine."""
    if lost == "echo":
        return _cause_of_silence(shown, path)
    if lost == "some":
        found = _first_drop(shown, path, echo=True)
        return found and found.put(f"some packets get lost, others do not: {found.why}")
    nodes = (path.source, *path.way.through, path.target, *path.way.back)
    hosts = tuple(dict.fromkeys(node for node in nodes if node != HYPERVISOR_NODE))
    small = next(small_links(shown, hosts, size), None)
    found = Cause.of(small) if small is not None else cause(shown, path, size=size)
    found = found or Cause("no host on the way shows why")
    return found.put(f"packets of {size} bytes get lost, small ones do not: {found.why}")


_ECHO = {
    4: ("icmp_echo_ignore_all", "net.ipv4.icmp_echo_ignore_all"),
    6: ("icmp/echo_ignore_all", "net.ipv6.icmp.echo_ignore_all"),
}


def _cause_of_silence(shown: Shown, path: Path) -> Cause | None:
    """Return why a host that a trace reached answers no echo; None if nothing contradicts the lab file."""
    capture = shown.capture(path.target)
    version = 6 if path.address is not None and path.address.version == 6 else 4
    file, key = _ECHO[version]
    ignores = capture is not None and bool(capture.evidence.setting(file, version))
    if ignores and shown.lab.hosts[path.target].sysctl.get(key, "0").strip() == "0":
        row, what = (SYSCTL.name, key), f"{key} is 1: no answer to pings"
        return Cause.of(Finding(CAUSE, what, path.target, row, (f"sysctl -w {key}=0",)))
    return None if ignores else _first_drop(shown, path, echo=True)


def _ends(shown: Shown, path: Path) -> Attachment | None:
    """Return the NIC that the source sends from, None if it has no route to the target."""
    if path.address is None:
        return None
    return forwarding(shown.lab, 6 if path.address.version == 6 else 4).sends_from(path.source, path.address)


def _along(
    shown: Shown,
    path: Path,
    nodes: tuple[str, ...],
    ends: tuple[Address, Address],
    size: int,
    judge: Judge,
    *,
    back: bool,
    port: int = 0,
    icmp: str = "",
    proto: Proto = "tcp",
) -> Iterator[Finding]:
    """Yield what ``judge`` finds at each node from first to last, and the nodes between that are silent."""
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
        leaves = route.nic if route is not None else None
        capture = shown.capture(node)
        if capture is None:
            if shown.silence(node) is not None and node not in (path.source, path.target):
                silent = (shown.silence(node) or not_asked(node)).fault(node)
                yield Finding(SILENT, f"{node} does not answer", silent=silent)
        else:
            state = _state(path, node, back=back) if icmp else ""
            at = Passage(
                *(node, capture, source, target, came if place else None, leaves, size, port, icmp),
                state=state,
                proto=proto,
            )
            yield from shown.told(node, partial(judge, shown, at, place, len(nodes), back))
        if route is not None:
            neighbour = route.via if route.via is not None else target
            came = wiring(shown.lab, version).nic_with.get((route.network, neighbour), route.network)


def _state(path: Path, node: str, *, back: bool) -> str:
    """Return what a node's connection tracking has of an echo: one that it did not see, it does not know."""
    if not back:
        return "new"
    return "established" if node in (path.source, path.target, *path.way.through) else ""


def _carried(path: Path, place: int, ends: tuple[Address, Address], *, back: bool) -> tuple[Address, Address]:
    """Return a packet's addresses at a point of the path; a router may translate the source."""
    if back:
        return ends[0], path.way.returned_to(place, ends[1])
    return path.way.seen_by(place, ends[0]), ends[1]


def _drop_at(shown: Shown, at: Passage, _place: int, _count: int, _back: bool) -> Iterator[Finding]:
    return dropped(shown, at)


def _translation_at(shown: Shown, at: Passage, _place: int, _count: int, back: bool) -> Iterator[Finding]:
    return translated(shown, at, back=back)


def _at(shown: Shown, at: Passage, place: int, count: int, back: bool) -> Iterator[Finding]:
    yield from _short_lived(shown, at, count) if place == 0 else ()
    yield from sent_from_elsewhere(shown, at) if place == 0 and not back else ()
    if place:
        if place < count - 1:
            yield from not_forwarded(shown, at)
        yield from reverse_path(shown, at)
    yield from kept_here(shown, at, last=place == count - 1)
    if place < count - 1:
        yield from _sending(shown, at, back=back)
    yield from _translation_at(shown, at, place, count, back)
    yield from rewritten(shown, at)
    yield from blocked_by_policy(at)
    yield from untracked(at)
    yield from dropped(shown, at)


def _short_lived(shown: Shown, at: Passage, count: int) -> Iterator[Finding]:
    """Yield the setting by which what the node sends does not get far enough."""
    seen, key, version = at.capture.evidence, "ip_default_ttl", 4
    if at.target.version == 6:
        own = forwarding(shown.lab, 6).sends_from(at.node, at.target)
        link = at.capture.links.get(own.nic.mac) if own is not None else None
        key, version = f"conf/{link.name if link is not None else 'all'}/hop_limit", 6
    for route in best_routes(at.capture.routes, at.target):
        if route.hop_limit and route.hop_limit < count - 1:
            name = "default" if route.prefix.prefixlen == 0 else route.prefix
            yield Finding(CAUSE, f"the route to {name} has hoplimit {route.hop_limit}", at.node)
    limit = seen.setting(key, version)
    if limit is not None and limit < count - 1:
        yield Finding(CAUSE, f"net.ipv{version}.{key.replace('/', '.')} is {limit}", at.node)


def _sending(shown: Shown, at: Passage, *, back: bool) -> Iterator[Finding]:
    """Yield the faults in how a node sends a packet on."""
    ways = forwarding(shown.lab, 4 if at.target.version == 4 else 6)
    expected, own = ways.chosen(at.node, at.target), ways.sends_from(at.node, at.target)
    if expected is None or own is None:
        return
    link = at.capture.links.get(own.nic.mac)
    yield from nic_findings(at.node, at.capture, own, link)
    if link is None or not link.is_up:
        return
    yield from policy_findings(shown, at)
    yield from redirected(shown, at, expected.via)
    yield from wrong_way(shown, at, expected, link.name, back=back)
    following = expected.via if expected.via is not None else at.target
    yield from neighbour_findings(shown, at.node, at.capture, link, own, following)
