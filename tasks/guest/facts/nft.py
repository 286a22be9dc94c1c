"""Which nftables rule drops a packet, read from ``nft -a list ruleset`` before and after the traces.

The text and not ``nft -j``: a reason names the rule as nft prints it, so the JSON, four times as long, would
have to be written back into nft's syntax, beside the reader of the text for an nft without JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from labrun.bounded import integer
from labrun.inventory.model import Address
from labrun.tasks.guest.deadline import pace

__all__ = ["Chain", "Packet", "Rule", "Ruleset", "Suspect", "fits", "read_ruleset", "suspects"]

_MOST_RULES = 20_000
"""The limit of rules read from a host, and of rules visited for one packet."""
_DEEPEST = 16
"""The kernel's limit on the depth of jumps."""
_LONGEST_RULE, _LONGEST_SHOWN = 64 * 1024, 300
# A guest may print one endless line, or things nft never prints: each of these patterns is linear.
_TABLE = re.compile(r"table (?P<family>\w+) (?P<name>\S+) \{.*")
_CHAIN = re.compile(r"\tchain (?P<name>\S+) \{.*")
_COUNTER = re.compile(r"\tcounter (?P<name>\S+) \{.*")
_BASE = re.compile(r"type \w+ hook (?P<hook>\w+) .*?(?:policy (?P<policy>\w+);)?")
_PACKETS = re.compile(r"counter packets ([0-9]{1,20}) bytes \d+ ?")
_NAMED = re.compile(r'counter name "?([\w.-]+)"? ?')
_PACKETS_OF_NAMED = re.compile(r"\s*+packets ([0-9]{1,20}) bytes \d+")
_JUMP = re.compile(r"\b(?:jump|goto) (\S+)")
_ENDS = re.compile(r"\b(drop|reject|accept)\b")
_NOISE = re.compile(
    r"\b(?:reject with \S+ (?:type )?\S+|log(?: (?:prefix \"[^\"]*\"|level \w+))*|comment \"[^\"]*\")"
)


@dataclass(frozen=True, slots=True)
class Packet:
    """What a rule can match; ``came`` and ``leaves`` are device names, empty if there is none.

    With a ``port`` it is the first packet of a TCP connection to it, with ``answers`` the answer of that TCP
    port, with ``icmp`` one of that type (``echo-request``), without any of them a probe: UDP or echo.
    """

    source: Address
    target: Address
    came: str = ""
    leaves: str = ""
    size: int = 60
    port: int = 0
    icmp: str = ""
    answers: int = 0

    @property
    def is_tcp(self) -> bool:
        """Tell whether it belongs to a TCP connection."""
        return bool(self.port or self.answers)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: ``text`` without counter and handle; ``counted`` is None if it has no counter."""

    handle: str
    text: str
    counted: int | None = None
    counter: str = ""


@dataclass(slots=True)
class Chain:
    """A chain with its rules in order; ``hook`` is empty if it is only jumped to."""

    table: str
    name: str
    hook: str = ""
    policy: str = "accept"
    rules: list[Rule] = field(default_factory=list)
    by_handle: dict[str, Rule] = field(default_factory=dict)


Ruleset = Mapping[tuple[str, str], Chain]
"""Chains by table (``inet filter``) and name."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A rule or policy that may drop a packet; ``sure`` if nothing else could have dropped it."""

    text: str
    sure: bool
    meanwhile: int | None


def read_ruleset(text: str) -> Ruleset:
    """Return the chains of ``nft -a list ruleset``; lines that cannot be parsed are left out.

    A ruleset with too many rules to follow is left out altogether.
    """
    chains: dict[tuple[str, str], Chain] = {}
    named: dict[tuple[str, str], int] = {}
    table, chain, counter, count = "", None, "", 0
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
            named[table, counter] = integer(found[1]) or 0
        elif chain is not None:
            _take(chain, line.strip(), named)
            count += 1
            if count > _MOST_RULES:
                return {}
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
    counted = integer(own[1]) if own else named.get((chain.table, counter)) if by_name else None
    bare = _NAMED.sub("", _PACKETS.sub("", text)).strip()
    rule = Rule(handle, bare, counted, counter)
    chain.rules.append(rule)
    chain.by_handle.setdefault(handle, rule)


def suspects(
    before: Ruleset, after: Ruleset, packet: Packet, hooks: tuple[str, ...], families: tuple[str, ...]
) -> Iterator[Suspect]:
    """Yield what may drop the packet at these hooks, in tables of these families.

    The run time is linear in the number of rules, regardless of the paths through them. If a ruleset is
    too large to follow, no suspect is certain.
    """
    walk = _Walk(before, after, packet)
    for (table, _), chain in after.items():
        if chain.hook in hooks and table.split()[0] in families:
            way = walk.through(chain)
            for found in way.suspects:
                yield found if not walk.is_spent else replace(found, sure=False)
            if chain.policy == "drop" and not way.ends:
                yield Suspect(f"{table}, chain {chain.name}: policy drop", not way.leaves, None)


@dataclass(slots=True)
class _Way:
    """What happens to a packet in a chain and the chains it jumps to.

    ``leaves`` = a rule may accept it early, so the rules that follow may never see it; ``ends`` = it
    certainly gets no further. ``found`` holds the suspects by text: one that is reached by several paths
    is sure if it is sure on any of them.
    """

    found: dict[str, Suspect] = field(default_factory=dict)
    leaves: bool = False
    ends: bool = False

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        return tuple(self.found.values())

    def add(self, suspect: Suspect, *, sure: bool) -> None:
        known = self.found.get(suspect.text)
        sure = suspect.sure and sure and not self.leaves
        if known is None or (sure and not known.sure):
            self.found[suspect.text] = replace(suspect, sure=sure)


@dataclass(slots=True)
class _Walk:
    """Walk one packet through a ruleset, visiting each chain once per depth of jumps."""

    before: Ruleset
    after: Ruleset
    packet: Packet
    budget: int = _MOST_RULES
    known: dict[tuple[str, str, int], _Way] = field(default_factory=dict)
    fitting: dict[str, bool | None] = field(default_factory=dict)

    @property
    def is_spent(self) -> bool:
        """Tell whether the walk stopped before the end."""
        return self.budget <= 0

    def through(self, chain: Chain, depth: int = 0) -> _Way:
        key = chain.table, chain.name, depth
        way = self.known.get(key)
        if way is None:
            way = self.known[key] = self._through(chain, depth)
        return way

    def _through(self, chain: Chain, depth: int) -> _Way:
        way = _Way()
        for rule in chain.rules:
            self.budget -= 1
            if self.is_spent or not pace().remaining():
                self.budget, way.leaves = 0, True
                break
            fits = self.fitting[rule.text] if rule.text in self.fitting else self._look(rule.text)
            if fits is not False and self._meets(way, chain, rule, fits is True, depth):
                way.ends = True
                break
        return way

    def _look(self, text: str) -> bool | None:
        self.fitting[text] = found = fits(text, self.packet)
        return found

    def _meets(self, way: _Way, chain: Chain, rule: Rule, fits: bool, depth: int) -> bool:
        """Add the effect of a rule that may match; return True if the packet certainly gets no further."""
        jump, ends = _JUMP.search(rule.text), _ENDS.search(rule.text)
        if jump and depth < _DEEPEST and (chain.table, jump[1]) in self.after:
            beyond = self.through(self.after[chain.table, jump[1]], depth + 1)
            for found in beyond.suspects:
                way.add(found, sure=fits)
            way.leaves = way.leaves or beyond.leaves or (beyond.ends and not fits)
            return beyond.ends and fits
        if ends and ends[1] == "accept":
            way.leaves = way.leaves or not fits
            return fits
        if ends:
            # A host that started late may have counted everything before its first reading, one that finished
            # early nothing before its last.
            if rule.counted != 0 or fits:
                meanwhile = _meanwhile(self.before, chain, rule)
                way.add(Suspect(_named(chain, rule, meanwhile), rule.counted != 0, meanwhile), sure=fits)
            return fits
        way.leaves = way.leaves or "return" in rule.text
        return False


def _meanwhile(before: Ruleset, chain: Chain, rule: Rule) -> int | None:
    """Return how much the rule's counter has grown since the first reading; None without a counter."""
    if rule.counted is None:
        return None
    earlier = before.get((chain.table, chain.name))
    same = earlier.by_handle.get(rule.handle) if earlier is not None else None
    return rule.counted - (same.counted or 0 if same is not None else 0)


def _named(chain: Chain, rule: Rule, meanwhile: int | None) -> str:
    counter = f'counter "{rule.counter}": ' if rule.counter else ""
    seen = f"{meanwhile} packets meanwhile" if meanwhile else f"{rule.counted} packets before"
    seen = seen if rule.counted else "nothing counted yet"
    counted = "" if meanwhile is None else f" ({counter}{seen})"
    text = rule.text if len(rule.text) <= _LONGEST_SHOWN else f"{rule.text[: _LONGEST_SHOWN - 1]}…"
    return f"{chain.table}, chain {chain.name}: {text}{counted}"


_ADDRESS = re.compile(r"\b(ip6?|arp) (saddr|daddr)(?: ip)? (!= )?(\{[^{}]*+\}|[\w.:/-]+)")
_DEVICE = re.compile(r"\b(iif|oif)(?:name)? (!= )?(\{[^{}]*+\}|\"[^\"]+\"|\S+)")
_PROTOCOL = re.compile(r"\b(?:ip protocol|ip6 nexthdr|meta l4proto) (!= )?(\{[^{}]*+\}|[\w-]+)")
_PORT = re.compile(r"\b(?:tcp|udp|sctp|dccp|th) (?:dport|sport|flags) (?:!= )?(?:\{[^{}]*+\}|\S+(?: / \S+)?)")
_ICMP_TYPE = re.compile(r"\bicmp(?:v6)? type (!= )?(\{[^{}]*+\}|\S+)")
_ICMP = re.compile(r"\bicmp(v6)? (?:type|code)\b")
_NUMBERS = {4: {"icmp", "1", "udp", "17"}, 6: {"ipv6-icmp", "icmpv6", "58", "udp", "17"}}
_DPORT = re.compile(r"\b(?:tcp|th) dport (!= )?(\{[^{}]*+\}|\S+)")
_SPORT = re.compile(r"\b(?:tcp|th) sport (!= )?(\{[^{}]*+\}|\S+)")
_STATE = re.compile(r"\bct state (!= )?(\{[^{}]*+\}|\S+)")
_TCP = frozenset({"tcp", "6"})
_LENGTH = re.compile(r"\b(?:meta|ip|ip6) length (>=?|<=?) ([0-9]{1,9})\b")


def fits(text: str, packet: Packet) -> bool | None:
    """Tell whether the packet matches; None if that cannot be determined."""
    if len(text) > _LONGEST_RULE:
        return None
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
        if not found[1] and not words & (_TCP if packet.is_tcp else _NUMBERS[packet.source.version]):
            return False
        sure = sure and not found[1] and (len(words) > 1 or packet.is_tcp)
    if not (_fits_connection(rest, packet) if packet.is_tcp else _fits_probe(rest, packet)):
        return False
    if packet.icmp:
        rest = _ICMP_TYPE.sub("", rest)
    if packet.is_tcp:
        rest = _STATE.sub("", (_DPORT if packet.port else _SPORT).sub("", rest))
    for pattern in (_ADDRESS, _DEVICE, _LENGTH, _PROTOCOL, _PORT):
        sure = sure and not (pattern is _PORT and pattern.search(rest))
        rest = pattern.sub("", rest)
    left = _JUMP.sub("", _ENDS.sub("", rest)).strip()
    return True if sure and not left else None


def _fits_probe(rest: str, packet: Packet) -> bool:
    if re.search(r"\b(?:tcp|sctp|dccp) (?:dport|sport|flags)", rest):
        return False
    if packet.icmp:
        if re.search(r"\budp (?:dport|sport)", rest):
            return False
        for found in _ICMP_TYPE.finditer(rest):
            if (packet.icmp in re.findall(r"[\w-]+", found[2])) is bool(found[1]):
                return False
    return all((found[1] == "v6") is (packet.source.version == 6) for found in _ICMP.finditer(rest))


def _fits_connection(rest: str, packet: Packet) -> bool:
    """Tell whether a rule's ports, states and protocols can match a new connection, or the answer to one."""
    if re.search(r"\b(?:udp|sctp|dccp) (?:dport|sport|flags)|\bicmp(?:v6)? (?:type|code)", rest):
        return False
    named, port, state = (
        (_DPORT, packet.port, "new") if packet.port else (_SPORT, packet.answers, "established")
    )
    for found in named.finditer(rest):
        ranges = [word.strip().partition("-") for word in found[2].strip("{ }").split(",")]
        bounds = [(integer(low), integer(high) if dash else integer(low)) for low, dash, high in ranges]
        known = all(low is not None and high is not None for low, high in bounds)
        among = any(low <= port <= high for low, high in bounds if low is not None and high is not None)
        if known and among is bool(found[1]):
            return False
    return all((state in found[2]) is not bool(found[1]) for found in _STATE.finditer(rest))


def _among(address: Address, words: str) -> bool | None:
    """Tell whether an address is in ``10.0.0.1``, ``10.0.0.0/8``, ``a-b`` or a set of these."""
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
