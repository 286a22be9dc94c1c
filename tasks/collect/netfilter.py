"""Which nftables rule drops a packet, read from ``nft -a list ruleset`` before and after the traces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from labrun.inventory.model import Address

__all__ = ["Chain", "Packet", "Rule", "Ruleset", "Suspect", "read_ruleset", "suspects"]

_TABLE = re.compile(r"table (?P<family>\w+) (?P<name>\S+) \{.*")
_CHAIN = re.compile(r"\tchain (?P<name>\S+) \{.*")
_COUNTER = re.compile(r"\tcounter (?P<name>\S+) \{.*")
_BASE = re.compile(r"type \w+ hook (?P<hook>\w+) .*?(?:policy (?P<policy>\w+);)?")
_PACKETS = re.compile(r"counter packets (\d+) bytes \d+ ?")
_NAMED = re.compile(r'counter name "?([\w.-]+)"? ?')
_PACKETS_OF_NAMED = re.compile(r"\s*packets (\d+) bytes \d+")
_JUMP = re.compile(r"\b(?:jump|goto) (\S+)")
_ENDS = re.compile(r"\b(drop|reject|accept)\b")
_NOISE = re.compile(
    r"\b(?:reject with \S+ (?:type )?\S+|log(?: (?:prefix \"[^\"]*\"|level \w+))*|comment \"[^\"]*\")"
)


@dataclass(frozen=True, slots=True)
class Packet:
    """What a rule can look at; ``came`` and ``leaves`` are device names, empty where there is none.

    With a ``port`` it is the first packet of a TCP connection, without one a probe: UDP or echo.
    """

    source: Address
    target: Address
    came: str = ""
    leaves: str = ""
    size: int = 60
    port: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: ``text`` without counter and handle; ``counted`` is None without a counter."""

    handle: str
    text: str
    counted: int | None = None
    counter: str = ""


@dataclass(slots=True)
class Chain:
    """A chain with its rules in order; ``hook`` is empty for one that is only jumped to."""

    table: str
    name: str
    hook: str = ""
    policy: str = "accept"
    rules: list[Rule] = field(default_factory=list)


Ruleset = Mapping[tuple[str, str], Chain]
"""Chains by table (``inet filter``) and name."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A rule or policy that may drop a packet; ``sure`` where nothing else could have been meant."""

    text: str
    sure: bool
    meanwhile: int | None


def read_ruleset(text: str) -> Ruleset:
    """Return the chains of ``nft -a list ruleset``; what is not understood is left out."""
    chains: dict[tuple[str, str], Chain] = {}
    named: dict[tuple[str, str], int] = {}
    table, chain, counter = "", None, ""
    for line in text.splitlines():
        if found := _TABLE.match(line):
            table, chain = f"{found['family']} {found['name']}", None
        elif found := _CHAIN.match(line):
            chain = chains[table, found["name"]] = Chain(table, found["name"])
        elif found := _COUNTER.match(line):
            counter = found["name"]
        elif line.startswith("\t}"):
            chain, counter = None, ""
        elif counter and (found := _PACKETS_OF_NAMED.match(line)):
            named[table, counter] = int(found[1])
        elif chain is not None:
            _take(chain, line.strip(), named)
    return chains


def _take(chain: Chain, line: str, named: Mapping[tuple[str, str], int]) -> None:
    base = _BASE.fullmatch(line)
    if base:
        chain.hook, chain.policy = base["hook"], base["policy"] or "accept"
        return
    text, mark, handle = line.rpartition(" # handle ")
    if not mark:
        return
    own, by_name = _PACKETS.search(text), _NAMED.search(text)
    counter = by_name[1] if by_name else ""
    counted = int(own[1]) if own else named.get((chain.table, counter)) if by_name else None
    bare = _NAMED.sub("", _PACKETS.sub("", text)).strip()
    chain.rules.append(Rule(handle, bare, counted, counter))


def suspects(
    before: Ruleset, after: Ruleset, packet: Packet, hooks: tuple[str, ...], families: tuple[str, ...]
) -> Iterator[Suspect]:
    """Yield what may drop the packet at these hooks, in tables of these families."""
    for (table, _), chain in after.items():
        if chain.hook in hooks and table.split()[0] in families:
            sure = True
            for verdict in _walk(before, after, chain, packet, 0):
                if isinstance(verdict, Suspect):
                    yield Suspect(verdict.text, verdict.sure and sure, verdict.meanwhile)
                elif verdict:
                    break
                else:
                    sure = False
            else:
                if chain.policy == "drop":
                    yield Suspect(f"{table}, chain {chain.name}: policy drop", sure, None)


def _walk(
    before: Ruleset, after: Ruleset, chain: Chain, packet: Packet, depth: int
) -> Iterator[Suspect | bool]:
    """Yield suspects in order; True where a rule certainly ends the chain, False where one may accept."""
    for rule in chain.rules:
        fits = _fits(rule.text, packet)
        if fits is False:
            continue
        jump, ends = _JUMP.search(rule.text), _ENDS.search(rule.text)
        if jump and depth < 8 and (chain.table, jump[1]) in after:
            for verdict in _walk(before, after, after[chain.table, jump[1]], packet, depth + 1):
                if isinstance(verdict, Suspect):
                    yield Suspect(verdict.text, verdict.sure and fits is True, verdict.meanwhile)
                else:
                    yield verdict and fits is True
        elif ends and ends[1] == "accept":
            yield fits is True
        elif ends:
            # A host that was slow to begin may have counted everything before its first look, one that
            # was done early nothing before its last.
            if rule.counted != 0 or fits:
                meanwhile = _meanwhile(before, chain, rule)
                sure = fits is True and rule.counted != 0
                yield Suspect(_named(chain, rule, meanwhile), sure, meanwhile)
            if fits is True:
                yield True  # nothing gets from here to the rules after it
                return
        elif "return" in rule.text:
            yield False


def _meanwhile(before: Ruleset, chain: Chain, rule: Rule) -> int | None:
    """Return what the rule's counter has counted since the first look, None without a counter."""
    if rule.counted is None:
        return None
    earlier = before.get((chain.table, chain.name))
    same = [old for old in earlier.rules if old.handle == rule.handle] if earlier else []
    return rule.counted - (same[0].counted or 0 if same else 0)


def _named(chain: Chain, rule: Rule, meanwhile: int | None) -> str:
    counter = f'counter "{rule.counter}": ' if rule.counter else ""
    seen = f"{meanwhile} packets meanwhile" if meanwhile else f"{rule.counted} packets before"
    seen = seen if rule.counted else "nothing counted yet"
    counted = "" if meanwhile is None else f" ({counter}{seen})"
    return f"{chain.table}, chain {chain.name}: {rule.text}{counted}"


_ADDRESS = re.compile(r"\b(ip6?|arp) (saddr|daddr)(?: ip)? (!= )?(\{[^}]*\}|[\w.:/-]+)")
_DEVICE = re.compile(r"\b(iif|oif)(?:name)? (!= )?(\{[^}]*\}|\"[^\"]+\"|\S+)")
_PROTOCOL = re.compile(r"\b(?:ip protocol|ip6 nexthdr|meta l4proto) (!= )?(\{[^}]*\}|[\w-]+)")
_PORT = re.compile(r"\b(?:tcp|udp|sctp|dccp|th) (?:dport|sport|flags) (?:!= )?(?:\{[^}]*\}|\S+(?: / \S+)?)")
_ICMP = re.compile(r"\bicmp(v6)? (?:type|code)\b")
_NUMBERS = {4: {"icmp", "1", "udp", "17"}, 6: {"ipv6-icmp", "icmpv6", "58", "udp", "17"}}
_DPORT = re.compile(r"\b(?:tcp|th) dport (!= )?(\{[^}]*\}|\S+)")
_STATE = re.compile(r"\bct state (!= )?(\{[^}]*\}|\S+)")
_TCP = frozenset({"tcp", "6"})
_LENGTH = re.compile(r"\b(?:meta|ip|ip6) length (>=?|<=?) (\d+)")


def _fits(text: str, packet: Packet) -> bool | None:
    """Tell whether the packet matches; None where that cannot be told."""
    rest, sure = _NOISE.sub("", text), True
    for found in _ADDRESS.finditer(rest):
        address = packet.source if found[2] == "saddr" else packet.target
        if found[1] != "arp" and (found[1] == "ip6") != (address.version == 6):
            return False
        among = _among(address, found[4])
        if among is None:
            sure = False
        elif among is bool(found[3]):
            return False
    for found in _DEVICE.finditer(rest):
        device = packet.came if found[1] == "iif" else packet.leaves
        among = f'"{device}"' in found[3] or found[3] == device
        if device and among is bool(found[2]):
            return False
    for found in _LENGTH.finditer(rest):
        above, bound = found[1].startswith(">"), int(found[2])
        if (above and packet.size < bound) or (not above and packet.size > bound):
            return False
    for found in _PROTOCOL.finditer(rest):
        words = set(re.findall(r"\w[\w-]*", found[2]))
        if not found[1] and not words & (_TCP if packet.port else _NUMBERS[packet.source.version]):
            return False
        sure = sure and not found[1] and (len(words) > 1 or bool(packet.port))
    if not (_fits_connection(rest, packet.port) if packet.port else _fits_probe(rest, packet)):
        return False
    if packet.port:
        rest = _STATE.sub("", _DPORT.sub("", rest))
    for pattern in (_ADDRESS, _DEVICE, _LENGTH, _PROTOCOL, _PORT):
        sure = sure and not (pattern is _PORT and pattern.search(rest))
        rest = pattern.sub("", rest)
    left = _JUMP.sub("", _ENDS.sub("", rest)).strip()
    return True if sure and not left else None


def _fits_probe(rest: str, packet: Packet) -> bool:
    if re.search(r"\b(?:tcp|sctp|dccp) (?:dport|sport|flags)", rest):
        return False
    return all((found[1] == "v6") is (packet.source.version == 6) for found in _ICMP.finditer(rest))


def _fits_connection(rest: str, port: int) -> bool:
    """Tell whether what a rule asks of ports, states and other protocols lets it match a new connection."""
    if re.search(r"\b(?:udp|sctp|dccp) (?:dport|sport|flags)|\bicmp(?:v6)? (?:type|code)", rest):
        return False
    for found in _DPORT.finditer(rest):
        ranges = [word.strip().partition("-") for word in found[2].strip("{ }").split(",")]
        known = all(low.isdecimal() and (high.isdecimal() or not dash) for low, dash, high in ranges)
        among = known and any(int(low) <= port <= int(high or low) for low, _, high in ranges)
        if known and among is bool(found[1]):
            return False
    return all(("new" in found[2]) is not bool(found[1]) for found in _STATE.finditer(rest))


def _among(address: Address, words: str) -> bool | None:
    """Tell whether an address is one of ``10.0.0.1``, ``10.0.0.0/8``, ``a-b`` or a set of these."""
    known: bool | None = False
    for word in words.strip("{ }").split(","):
        first, dash, last = word.strip().partition("-")
        try:
            if dash:
                within = int(ip_address(first)) <= int(address) <= int(ip_address(last))
            else:
                within = address in ip_network(first, strict=False)
        except ValueError:
            known = None  # a named set, a variable
            continue
        if within:
            return True
    return known
