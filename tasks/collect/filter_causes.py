"""What a host does to a packet on purpose: nftables, ip rules, rp_filter, forwarding off, local routes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from labrun.inventory.model import Address
from labrun.inventory.topology.wiring import Version, wiring
from labrun.tasks.collect.capture import Capture
from labrun.tasks.collect.nic_causes import CAUSE, LIKELY, SYMPTOM, Finding, Shown, nic_name, nic_of
from labrun.tasks.collect.route_words import has_foreign_source
from labrun.tasks.collect.translations import translations
from labrun.tasks.guest.facts.nft import Ruleset, Suspect, suspects
from labrun.tasks.guest.facts.nft_rules import Packet, Proto
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.guest.facts.rules import PolicyRule
from labrun.tasks.state.sections import SYSCTL

__all__ = [
    "Passage",
    "best_routes",
    "blocked_by_policy",
    "dropped",
    "kept_here",
    "not_forwarded",
    "policy_findings",
    "protocol_refused",
    "proven_drops",
    "redirected",
    "reverse_path",
    "rewritten",
    "sent_from_elsewhere",
    "too_rare",
    "translated",
    "untracked",
]

# What labrun keeps itself is in the lab file.
_OWN_TABLE = "inet labrun,"
# The milliseconds between ICMP errors to one host, as the kernel has them.
_USUAL_PAUSE = 1000
# A full table makes room for a few at a time.
_FULL = 0.99
# iproute2 gives the number where the host has no list of names.
_NUMBERS: dict[Proto, str] = {"tcp": "6", "udp": "17"}
# The priorities of the kernel's own rules.
_OWN_RULES = {"local": 0, "main": 32766}


@dataclass(frozen=True, slots=True)
class Passage:
    """One packet at one host: the NICs by which it arrives and leaves, by name; None = the host itself.

    ``port`` is that of the connection it opens by ``proto``, 0 for a probe; ``icmp`` its type if it is known
    to be an echo; ``answers`` the port whose answer it is; ``state`` what this host's connection tracking has
    of it, empty if that is unknown.
    """

    node: str
    capture: Capture
    source: Address
    target: Address
    came: str | None
    leaves: str | None
    size: int = 60
    port: int = 0
    icmp: str = ""
    answers: int = 0
    state: str = ""
    proto: Proto = "tcp"


def _device(shown: Shown, at: Passage, name: str | None) -> str:
    nic = shown.lab.hosts[at.node].nic(name) if name is not None else None
    link = at.capture.links.get(nic.mac) if nic is not None else None
    return link.name if link is not None else ""


def _hooks(at: Passage) -> tuple[str, ...]:
    """Return the hooks of nftables that the packet passes at this host."""
    if at.came is None:
        return "output", "postrouting", "egress"
    if at.leaves is None:
        return "ingress", "prerouting", "input"
    return "ingress", "prerouting", "forward", "postrouting", "egress"


def best_routes(routes: tuple[ObservedRoute, ...], to: Address) -> tuple[ObservedRoute, ...]:
    """Return the routes among which the kernel chooses: the longest prefix, then the lowest metric.

    They are several if the route has several next hops.
    """
    fitting = [route for route in routes if route.prefix.version == to.version and to in route.prefix]
    best = min((_cost(route) for route in fitting), default=None)
    return tuple(route for route in fitting if _cost(route) == best)


def _cost(route: ObservedRoute) -> tuple[int, int]:
    return -route.prefix.prefixlen, route.metric


def not_forwarded(shown: Shown, at: Passage) -> Iterator[Finding]:
    """Yield the setting that keeps a packet from being forwarded."""
    if at.capture.forwards(at.target.version) is False:
        key = "net.ipv4.ip_forward" if at.target.version == 4 else "net.ipv6.conf.all.forwarding"
        yield Finding(CAUSE, f"{key} is 0", at.node, (SYSCTL.name, key), (f"sysctl -w {key}=1",))
        return
    device = _device(shown, at, at.came)
    if at.target.version == 4 and at.capture.evidence.setting(f"conf/{device}/forwarding") == 0:
        yield Finding(CAUSE, f"net.ipv4.conf.{device}.forwarding is 0 ({at.came})", at.node)


def reverse_path(shown: Shown, at: Passage) -> Iterator[Finding]:
    """Yield a drop by rp_filter: 1 wants the route back on the same NIC, 2 on any NIC."""
    device, seen = _device(shown, at, at.came), at.capture.evidence
    if not device or at.target.version == 6:
        return
    strictness = max(seen.setting(f"conf/{which}/rp_filter") or 0 for which in ("all", device))
    back = next(iter(best_routes(at.capture.routes, at.source)), None)
    usable = back is not None and back.kind == "unicast"
    if strictness == 0 or (usable and back is not None and (strictness == 2 or back.device == device)):
        return
    there = f"leads out of {nic_name(shown.lab, at.node, at.capture, back.device)}" if back else "is missing"
    if back is not None and not usable:
        there = f"is a {back.kind} route"
    # Without any route back, the cause is reported for the return path.
    yield Finding(
        CAUSE if strictness == 1 else SYMPTOM,
        f"rp_filter {strictness} drops what comes from {at.source} on {at.came}: the route back {there}",
        at.node,
    )


def kept_here(shown: Shown, at: Passage, *, last: bool) -> Iterator[Finding]:
    """Yield what makes a node take a packet for itself that it should send on, or the other way round."""
    local = [each for each in at.capture.evidence.local if at.target in each.prefix]
    version: Version = 4 if at.target.version == 4 else 6
    owner = wiring(shown.lab, version).owner.get(at.target)
    devices = (*at.capture.links.values(), *at.capture.devices)
    own = [each for link in devices if link.is_up for each in link.held if each.interface.ip == at.target]
    if last and any(each.tentative for each in own):
        what = f"{at.target} is tentative: whether another device has it is still being asked"
        yield Finding(LIKELY, what, at.node)
    elif last and own and at.capture.evidence.local and not local:
        yield Finding(CAUSE, f"no local route to its own address {at.target}", at.node)
    if not last and owner != at.node and local:
        # The kernel itself adds the route of an address that some device has.
        whose = f"{at.target} ({owner}'s)" if owner is not None else str(at.target)
        article = "an" if local[0].kind[0] in "aeiou" else "a"
        by_hand = f"{article} {local[0].kind} route to {local[0].prefix} in the table local"
        of_address = f"has {whose} on {local[0].device}"
        by_hand = f"a local route to {local[0].prefix}" if local[0].kind == "local" else by_hand
        yield Finding(CAUSE, of_address if local[0].is_of_address else by_hand, at.node)


def translated(shown: Shown, at: Passage, *, back: bool = False) -> Iterator[Finding]:
    """Yield the rules not from labrun that translate a connection's first packet at this host.

    Answers follow the translation of the packets that they answer, but each packet is tracked by itself.
    """
    hooks = ("output",) if at.came is None else ("prerouting", *(("postrouting",) if at.leaves else ()))
    host = shown.lab.hosts[at.node]
    # Only a host whose file or whose own rules ask for the state of connections needs it.
    tracks = host.firewall is not None or host.nat is not None or _asks_for_state(at.capture.evidence.after)
    for rank, does, what in _changes(shown, at, hooks):
        if (does == "translates" and not back) or (does == "does not track" and tracks):
            yield Finding(rank, what, at.node)


def _asks_for_state(ruleset: Ruleset) -> bool:
    return any("ct state" in rule.text for chain in ruleset.values() for rule in chain.rules)


def rewritten(shown: Shown, at: Passage) -> Iterator[Finding]:
    """Yield the rules not from labrun that change this one packet or divert it: a reason if it gets lost."""
    hooks = _hooks(at)
    for rank, does, what in _changes(shown, at, hooks):
        if does in ("rewrites", "diverts"):
            yield Finding(rank, what, at.node)


def _changes(shown: Shown, at: Passage, hooks: tuple[str, ...]) -> Iterator[tuple[int, str, str]]:
    if not shown.translates(at.node):
        return
    came, leaves = _device(shown, at, at.came), _device(shown, at, at.leaves)
    packet = Packet(
        at.source, at.target, came, leaves, at.size, at.port, at.icmp, state=at.state, proto=at.proto
    )
    families = ("ip" if at.target.version == 4 else "ip6", "inet", "netdev")
    for found in translations(at.capture.evidence.after, packet, hooks, families):
        yield CAUSE if found.sure else SYMPTOM, found.does, f"nftables {found.does} it: {found.text}"


def blocked_by_policy(at: Passage) -> Iterator[Finding]:
    """Yield that IPsec policies block packets at this host: which ones, its counters do not tell."""
    if count := at.capture.evidence.blocked:
        packets = "packet" if count == 1 else "packets"
        what = f"IPsec policies have blocked {count} {packets} meanwhile: `ip xfrm policy`"
        yield Finding(LIKELY, what, at.node)


def untracked(at: Passage) -> Iterator[Finding]:
    """Yield that a host's table of connections is full: it drops whatever begins a new one."""
    count, most = at.capture.evidence.tracked or (0, 0)
    if most and count >= most * _FULL:
        what = f"the table of connections is full: {count} of {most} (net.netfilter.nf_conntrack_max)"
        yield Finding(CAUSE, what, at.node)


def sent_from_elsewhere(shown: Shown, at: Passage) -> Iterator[Finding]:
    """Yield the route by which the host's own packets get a source that nobody in the lab knows."""
    for route in best_routes(at.capture.routes, at.target):
        if has_foreign_source(shown.lab, at.node, at.capture, route):
            name = "default" if route.prefix.prefixlen == 0 else route.prefix
            what = f"sends from {route.source}, not from {at.source}: the route to {name} says so"
            yield Finding(CAUSE, what, at.node)


def redirected(shown: Shown, at: Passage, via: Address | None) -> Iterator[Finding]:
    """Yield the gateway that an ICMP redirect put in place of ``via``, or of the direct way."""
    version: Version = 4 if at.target.version == 4 else 6
    holder = wiring(shown.lab, version).holder
    for each in at.capture.evidence.learned:
        if at.target not in each.prefix or each.prefix.version != version or each.via in (None, via):
            continue
        own = nic_of(shown.lab, at.node, at.capture, each.device)
        network = own.network if own is not None else ""
        if each.via.is_link_local:
            # An IPv6 router is named by an address that the lab file does not have.
            known = at.capture.evidence.neighbour(each.device, each.via)
            meant = holder.get((network, via)) if via is not None else None
            name = wiring(shown.lab, version).nic_with.get((network, via)) if via is not None else None
            nic = shown.lab.hosts[meant].nic(name) if meant is not None and name is not None else None
            if known is None or known.mac is None or nic is None or nic.mac in ("", known.mac):
                continue
        flush = f"ip {'-6 ' if version == 6 else ''}route flush cache"
        what = f"an ICMP redirect makes it send {at.target} via {each.via}: `{flush}`"
        yield Finding(CAUSE, what, at.node)


def policy_findings(shown: Shown, at: Passage) -> Iterator[Finding]:
    """Yield the rules of ``ip rule`` that divert the packet from the main table, and those that are gone."""
    version = "-6 " if at.target.version == 6 else ""
    for number, table in at.capture.evidence.missing_tables:
        if number == at.target.version:
            add = f"ip {version}rule add pref {_OWN_RULES[table]} lookup {table}"
            yield Finding(CAUSE, f"no rule looks up the routes of the table {table}: `{add}`", at.node)
    # A table without its default route leaves the packet to the rule that follows.
    for rule in sorted(_rules_for(shown, at), key=lambda each: "suppress" in each.conditions):
        refuses = not rule.action.startswith("lookup") and not rule.conditional
        yield Finding(CAUSE if refuses else SYMPTOM, str(rule), at.node)


def _rules_for(shown: Shown, at: Passage) -> Iterator[PolicyRule]:
    """Yield the rules of ``ip rule`` that fit the packet, as far as they go by addresses and devices."""
    # To the kernel what a host sends itself comes in by the loopback.
    came = "lo" if at.came is None else _device(shown, at, at.came)
    for rule in at.capture.evidence.rules:
        if rule.version != at.target.version:
            continue
        fits = (
            (rule.source is None or at.source in rule.source)
            and (rule.target is None or at.target in rule.target)
            and (not came or rule.iif in ("", came))
        )
        if fits is not rule.negated:
            yield rule


def dropped(shown: Shown, at: Passage) -> Iterator[Finding]:
    """Yield the nftables rules and policies that may drop the packet at this host."""
    for found in _suspects(shown, at):
        does = "leaves it to a program" if found.is_queued else "drops it"
        yield Finding(_rank(found), f"nftables {does}: {found.text}", at.node)


def _suspects(shown: Shown, at: Passage) -> Iterator[Suspect]:
    seen = at.capture.evidence
    came, leaves = _device(shown, at, at.came), _device(shown, at, at.leaves)
    packet = Packet(
        at.source, at.target, came, leaves, at.size, at.port, at.icmp, at.answers, at.state, at.proto
    )
    families = ("ip" if at.target.version == 4 else "ip6", "inet", "netdev")
    yield from suspects(seen.before, seen.after, packet, _hooks(at), families)


def protocol_refused(shown: Shown, at: Passage) -> Iterator[Finding]:
    """Yield the rules of others, not policies, that drop the first packet of a connection for certain."""
    for found in _suspects(shown, at):
        if found.sure and not found.text.endswith(": policy drop") and not found.text.startswith(_OWN_TABLE):
            yield Finding(CAUSE, f"nftables drops {at.proto.upper()}: {found.text}", at.node)
    for rule in _rules_for(shown, at):
        if not rule.negated and not rule.action.startswith("lookup") and _is_of(rule.conditions, at.proto):
            yield Finding(CAUSE, f"{at.proto.upper()} is refused: {rule}", at.node)


def _is_of(conditions: str, proto: Proto) -> bool:
    """Tell whether a rule is for a whole protocol, which iproute2 names if it can, and for nothing less."""
    key, _, value = conditions.partition(" ")
    return key == "ipproto" and value.removeprefix("ipproto-") in (proto, _NUMBERS[proto])


def proven_drops(shown: Shown, at: Passage) -> Iterator[Finding]:
    """Yield the rules and policies that drop a packet for certain, whoever made them."""
    for found in _suspects(shown, at):
        if found.sure and not found.is_queued:
            yield Finding(CAUSE, f"nftables drops it: {found.text}", at.node)


def too_rare(at: Passage) -> Iterator[Finding]:
    """Yield the setting by which a host sends too few ICMP errors to answer traces."""
    version = at.target.version
    key = "icmp_ratelimit" if version == 4 else "icmp/ratelimit"
    pause = at.capture.evidence.setting(key, version)
    if pause is not None and pause > _USUAL_PAUSE:
        yield Finding(CAUSE, f"net.ipv{version}.{key.replace('/', '.')} is {pause}", at.node)


def _rank(found: Suspect) -> int:
    return CAUSE if found.sure or found.meanwhile else SYMPTOM
