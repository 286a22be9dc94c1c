"""One filter as a table of nftables on the hypervisor: rules with state, rejections and a record.

The kernel's own connection tracking of bridged frames is a module that many kernels lack, and its `reject`
works in few places there. So the table keeps the connections that it let through in sets of its own, and a
rejected frame is handed to the hypervisor's IP stack, which answers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from labrun.inventory.model import Lab, Prefix
from labrun.inventory.topology.flows import ports_text
from labrun.inventory.topology.nic_filters import Direction, directions, ends_of, rule_words
from labrun.inventory.traffic import Filter, FilterRule
from labrun.tasks.provision.driver import tap_name

__all__ = ["LOGS", "filter_table", "log_set", "noted"]

LOGS = ("4", "4-other", "6", "6-other")
"""The sets that record what a rule refused: TCP and UDP with ports, and all else, by IP version."""

_BOTH = "meta protocol { ip, ip6 }"
_MARK = "0x6c72"
# nft takes 128 bytes.
_LONGEST_WORDS = 100
_EVERYBODY = "ff:ff:ff:ff:ff:ff"
_ADDRESS = {"4": "ipv4_addr", "6": "ipv6_addr"}
_IP = {"4": "ip", "6": "ip6"}
# Neighbour discovery, without which there is no IPv6; and the errors that belong to what was let through.
_NEIGHBOURS = "icmpv6 type { 133, 134, 135, 136, 137 }"
_ERRORS = ("icmp type { 3, 11, 12 }", "icmpv6 type { 1, 2, 3, 4 }")
_LATER_FRAGMENTS = ("ip frag-off & 0x1fff != 0", "frag frag-off != 0")
_STATE = "{ type ether_addr . %s; flags dynamic, timeout; size 65535; timeout %s; }"
_RECORD = "{ type %s; flags dynamic, timeout; size 4096; timeout 1d; counter; }"


def filter_table(lab: Lab, found: Filter, table: str) -> str:
    """Return the text that makes a filter's tables: of family bridge, and inet too if it rejects."""
    return "\n".join(_Table(lab, found, table).lines()) + "\n"


def log_set(number: int, direction: Direction, kind: str) -> str:
    """Return the name of the set that records what a rule refuses; ``kind`` is one of LOGS."""
    return f"refused-{number}-{direction}-{kind}"


class _Table:
    def __init__(self, lab: Lab, found: Filter, table: str) -> None:
        self._lab, self._filter, self._table = lab, found, table
        self._nics = [
            nic
            for host in lab.hosts.values()
            for nic in host.interfaces
            if nic.filter == found.name and host.machine is not None
        ]
        self._rejects_in = any(rule.action == "reject" and "in" in directions(rule) for rule in found.rules)

    def lines(self) -> Iterator[str]:
        """Yield the text line by line."""
        yield f"table bridge {self._table} {{"
        yield from self._sets()
        if self._filter.keeps_state:
            yield from self._keepers()
        yield from self._chain("out", self._rules("out", bridged=True))
        yield from self._chain("in", self._rules("in", bridged=False))
        if self._rejects_in:
            yield from self._chain("in-bridged", self._rules("in", bridged=True))
        yield from self._bases()
        yield "}"
        if any(rule.action == "reject" for rule in self._filter.rules):
            yield from self._answering()

    def _sets(self) -> Iterator[str]:
        if self._filter.keeps_state:
            for side in ("in", "out"):
                for version, address in _ADDRESS.items():
                    ports = f"{address} . inet_service . {address} . inet_service"
                    yield f"set {side}-tcp{version} {_STATE % (ports, '1d')}"
                    yield f"set {side}-udp{version} {_STATE % (ports, '3m')}"
                    pair = f"{address} . {address} . inet_proto"
                    yield f"set {side}-other{version} {_STATE % (pair, '1m')}"
        for number, rule in enumerate(self._filter.rules):
            for direction in directions(rule) if rule.log else ():
                for kind in LOGS:
                    address = _ADDRESS[kind[0]]
                    parts = ["ether_addr", address, address, "inet_proto"]
                    parts += [] if "-" in kind else ["inet_service"]
                    yield f"set {log_set(number, direction, kind)} {_RECORD % ' . '.join(parts)}"

    @staticmethod
    def _chain(name: str, rules: Iterable[str], hook: str = "") -> Iterator[str]:
        yield f"chain {name} {{"
        yield from ((hook,) if hook else ())
        yield from rules
        yield "}"

    def _bases(self) -> Iterator[str]:
        """Yield the chains of the hooks, and those that keep what was let through."""
        taps = _these(f'"{tap_name(nic.mac)}"' for nic in self._nics)
        macs = _these(nic.mac for nic in self._nics)
        start = [f"iifname {taps} jump out"] if self._nics else []
        if self._rejects_in and self._nics:
            start.append(f"ether daddr {macs} jump in-bridged")
        end = [f"oifname {taps} jump in"] if self._nics else []
        yield from self._chain("prerouting", start, _hook("prerouting", "-150"))
        yield from self._chain("postrouting", end, _hook("postrouting", "0"))
        if self._filter.keeps_state:
            # What is rejected goes to everybody, so that it reaches the IP stack, and to nobody else.
            yield from self._chain("forward", [f"meta mark {_MARK} drop"], _hook("forward", "-250"))

    def _rules(self, direction: Direction, *, bridged: bool) -> Iterator[str]:
        """Yield a direction's rules; ``bridged`` = in a chain that a frame can still be rejected from."""
        if self._filter.keeps_state:
            yield from self._always(direction)
        for number, rule in enumerate(self._filter.rules):
            if direction in directions(rule):
                for match in _matches(self._lab, rule, stateful=self._filter.keeps_state):
                    yield from self._rule(number, rule, direction, match, bridged=bridged)
        if self._filter.keeps_state:
            yield f"goto keep-{direction}"

    def _always(self, direction: Direction) -> Iterator[str]:
        mac, other = ("saddr", "in") if direction == "out" else ("daddr", "out")
        for version, ip in _IP.items():
            ends = f"ether {mac} . {ip} daddr . {{0}} dport . {ip} saddr . {{0}} sport"
            for proto in ("tcp", "udp"):
                yield f"{ends.format(proto)} @{other}-{proto}{version} accept"
            no_echo = "icmp type != 8 " if version == "4" else "icmpv6 type != 128 "
            of_icmp = f"ether {mac} . {ip} daddr . {ip} saddr . meta l4proto @{other}-other{version}"
            yield f"{no_echo}{of_icmp} accept"
            icmp = "1" if version == "4" else "58"
            yield f"meta l4proto != {{ {icmp}, 6, 17 }} {of_icmp} accept"
        yield from (f"{each} accept" for each in (*_ERRORS, *_LATER_FRAGMENTS))
        protocols = {rule.proto for rule in self._filter.rules if rule.action != "allow"}
        if "arp" not in protocols:
            yield "meta protocol arp accept"
        if "icmpv6" not in protocols:
            yield f"{_NEIGHBOURS} accept"
        if any(nic.dhcp for nic in self._nics):
            client, server = ("sport", "dport") if direction == "out" else ("dport", "sport")
            yield f"meta protocol ip udp {client} 68 udp {server} 67 accept"

    def _rule(
        self, number: int, rule: FilterRule, direction: Direction, match: str, *, bridged: bool
    ) -> Iterator[str]:
        note = _note(number, rule, direction)
        if rule.action == "allow":
            yield f"{match} counter goto keep-{direction} {note}".strip()
            return
        if rule.log:
            yield from _records(number, direction, match)
        if rule.action == "deny" or not bridged:
            yield f"{match} counter drop {note}".strip()
            return
        # The answer is to come back through this filter, as that of a connection does.
        yield f"{match} jump note-{direction}".strip()
        hand_over = f"meta pkttype set host ether daddr set {_EVERYBODY} meta mark set {_MARK}"
        yield f"{match} counter {hand_over} accept {note}".strip()

    def _keepers(self) -> Iterator[str]:
        """Yield the chains that keep a connection: ``note-`` goes on, ``keep-`` lets it through."""
        for side, mac in (("in", "daddr"), ("out", "saddr")):
            notes = []
            for version, ip in _IP.items():
                for proto in ("tcp", "udp"):
                    ends = f"ether {mac} . {ip} saddr . {proto} sport . {ip} daddr . {proto} dport"
                    notes.append(f"update @{side}-{proto}{version} {{ {ends} }}")
                pair = f"ether {mac} . {ip} saddr . {ip} daddr . meta l4proto"
                notes.append(f"meta l4proto != {{ 6, 17 }} update @{side}-other{version} {{ {pair} }}")
            yield from self._chain(f"note-{side}", notes)
            yield from self._chain(f"keep-{side}", [f"jump note-{side}", "accept"])

    def _answering(self) -> Iterator[str]:
        """Yield the table in which the hypervisor's IP stack answers what is rejected."""
        yield f"table inet {self._table} {{"
        refuse = ["meta l4proto tcp reject with tcp reset", "reject"]
        yield from self._chain("refuse", refuse)
        yield from self._chain("prerouting", [f"meta mark {_MARK} goto refuse"], _hook("prerouting", "-300"))
        if self._rejects_in:
            yield from self._chain("in", self._routed_in())
            jumps = list(self._jumps_to_guests())
            for hook in ("output", "forward"):
                yield from self._chain(hook, jumps, _hook(hook, "-10"))
        yield "}"

    def _jumps_to_guests(self) -> Iterator[str]:
        for version, ip in _IP.items():
            own = [nic.ipv4 if version == "4" else nic.ipv6 for nic in self._nics]
            addresses = [str(each.ip) for each in own if each is not None]
            if addresses:
                yield f"{ip} daddr {_these(addresses)} jump in"

    def _routed_in(self) -> Iterator[str]:
        """Yield what is rejected of what the hypervisor sends or routes to a guest: no bridge receives it.

        What is denied is left to the bridge. Answers, and what `reject` itself sends, are no question.
        """
        yield "ct state established,related return"
        yield "tcp flags & rst == rst return"
        yield from (f"{each} return" for each in (*_ERRORS, _NEIGHBOURS))
        for number, rule in enumerate(self._filter.rules):
            if "in" not in directions(rule) or rule.proto == "arp":
                continue
            for match in _matches(self._lab, rule, stateful=True):
                if rule.action == "reject":
                    yield f"{match} counter goto refuse {_note(number, rule, 'in')}"
                else:
                    yield f"{match} return"


def _note(number: int, rule: FilterRule, direction: Direction) -> str:
    """Return the comment that tells a rule's number, direction and words."""
    return f'comment "{number} {direction}: {rule_words(rule)[:_LONGEST_WORDS]}"'


def noted(comment: str) -> tuple[int, str] | None:
    """Return the number of the rule and the direction that a comment tells, None if it is another's."""
    number, _, direction = comment.partition(":")[0].partition(" ")
    return (int(number), direction) if number.isdecimal() and direction in ("in", "out") else None


def _hook(name: str, priority: str) -> str:
    return f"type filter hook {name} priority {priority}; policy accept;"


def _these(words: Iterable[str]) -> str:
    return "{ " + ", ".join(dict.fromkeys(words)) + " }"


def _records(number: int, direction: Direction, match: str) -> Iterator[str]:
    for kind in LOGS:
        ip, of_ports = _IP[kind[0]], "-" not in kind
        proto = "meta l4proto { 6, 17 }" if of_ports else "meta l4proto != { 6, 17 }"
        mac = "saddr" if direction == "out" else "daddr"
        key = f"ether {mac} . {ip} saddr . {ip} daddr . meta l4proto" + (" . th dport" if of_ports else "")
        if _is_possible(match, ip, of_ports=of_ports):
            # After a set of protocols, nft leaves the address's own out.
            match = match.replace(_BOTH, "").strip()
            protocol = "" if f"{ip} " in match else f"meta protocol {ip}"
            yield f"{protocol} {match} {proto} update @{log_set(number, direction, kind)} {{ {key} }}".strip()


def _is_possible(match: str, ip: str, *, of_ports: bool) -> bool:
    """Tell whether a match leaves room for this IP version and kind of protocol."""
    words = set(match.replace(_BOTH, "").split())
    if words & {"arp", "ip6" if ip == "ip" else "ip"}:
        return False
    named = words & {"tcp", "udp", "icmp", "ipv6-icmp"}
    return not named or bool(named & {"tcp", "udp"}) == of_ports


def _matches(lab: Lab, rule: FilterRule, *, stateful: bool) -> Iterator[str]:
    """Yield what a rule matches, in nft's words: once, or for each IP version in which its ends are."""
    layer = {"tcp": "tcp", "udp": "udp", "icmp": "icmp", "icmpv6": "ipv6-icmp"}.get(rule.proto)
    only = {"ipv4": 4, "icmp": 4, "ipv6": 6, "icmpv6": 6}.get(rule.proto)
    what = f"meta l4proto {layer}" if layer else ""
    if rule.ports:
        what = f"{layer} dport {_these(ports_text((each,)) for each in _merged(rule.ports))}"
    if rule.source is None and rule.to is None:
        protocol = {4: "meta protocol ip", 6: "meta protocol ip6"}.get(only or 0, "")
        if rule.proto == "arp":
            protocol = "meta protocol arp"
        elif rule.proto == "all" and stateful:
            protocol = _BOTH
        yield f"{protocol} {what}".strip()
        return
    for version, sources, targets in ends_of(lab, rule):
        if only in (None, version):
            ip = _IP[str(version)]
            ends = [_side(ip, "saddr", sources), _side(ip, "daddr", targets)]
            yield " ".join(filter(None, [*ends, what]))


def _merged(ports: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges of ports without overlaps, which nft rejects."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ports):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


def _side(ip: str, side: str, prefixes: Sequence[Prefix]) -> str:
    return f"{ip} {side} {_these(map(_plain, prefixes))}" if prefixes else ""


def _plain(prefix: Prefix) -> str:
    return str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)
