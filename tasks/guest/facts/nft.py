"""Which nftables rule drops a packet, read from ``nft -a list ruleset`` before and after the traces.

The text and not ``nft -j``: a reason names the rule as nft prints it, so the JSON, four times as long, would
have to be written back into nft's syntax, beside the reader of the text for an nft without JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from labrun.bounded import integer
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.facts.nft_rules import ENDS, JUMP, QUEUE, Packet, fits

__all__ = ["Chain", "Rule", "Ruleset", "Suspect", "read_ruleset", "suspects"]

_MOST_RULES = 20_000
"""The limit of rules read from a host, and of rules visited for one packet."""
_DEEPEST = 16
"""The kernel's limit on the depth of jumps."""
_LONGEST_SHOWN = 300
# A guest may print one endless line, or things nft never prints: each of these patterns is linear.
_TABLE = re.compile(r"table (?P<family>\w+) (?P<name>\S+) \{.*")
_CHAIN = re.compile(r"\tchain (?P<name>\S+) \{.*")
_COUNTER = re.compile(r"\tcounter (?P<name>\S+) \{.*")
_BASE = re.compile(
    r"type \w+ hook (?P<hook>\w+) (?P<at>devices? (?:= )?(?:\{[^{}]*+\}|\S++) )?"
    r".*?(?:policy (?P<policy>\w+);)?"
)
_DEVICES = re.compile(r"(?<=[\s{\",])(?!devices?\b)[^\s{}\",=;]++")
_PACKETS = re.compile(r"counter packets ([0-9]{1,20}) bytes \d+ ?")
_NAMED = re.compile(r'counter name "?([\w.-]+)"? ?')
_PACKETS_OF_NAMED = re.compile(r"\s*+packets ([0-9]{1,20}) bytes \d+")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: ``text`` without counter and handle; ``counted`` is None if it has no counter."""

    handle: str
    text: str
    counted: int | None = None
    counter: str = ""


@dataclass(slots=True)
class Chain:
    """A chain with its rules in order; ``hook`` is empty if it is only jumped to.

    ``devices`` are those that its hook is at, empty for all.
    """

    table: str
    name: str
    hook: str = ""
    policy: str = "accept"
    devices: frozenset[str] = frozenset()
    rules: list[Rule] = field(default_factory=list)
    by_handle: dict[str, Rule] = field(default_factory=dict)


Ruleset = Mapping[tuple[str, str], Chain]
"""Chains by table (``inet filter``) and name."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A rule or policy that may drop a packet; ``sure`` if nothing else could have dropped it.

    ``is_queued`` = it leaves that to a program, which may let the packet pass.
    """

    text: str
    sure: bool
    meanwhile: int | None
    is_queued: bool = False


def read_ruleset(text: str) -> Ruleset:
    """Return the chains of ``nft -a list ruleset``; lines that cannot be parsed are left out.

    A ruleset with too many rules to follow is left out altogether.
    """
    chains: dict[tuple[str, str], Chain] = {}
    named: dict[tuple[str, str], int] = {}
    table, chain, counter, count = "", None, "", 0
    for line in text.splitlines():
        if match := _TABLE.match(line):
            table, chain = f"{match['family']} {match['name']}", None
        elif match := _CHAIN.match(line):
            chain = chains[table, match["name"]] = Chain(table, match["name"])
        elif match := _COUNTER.match(line):
            counter = match["name"]
        elif line.startswith("\t}"):
            chain, counter = None, ""
        elif counter and (match := _PACKETS_OF_NAMED.match(line)):
            named[table, counter] = integer(match[1]) or 0
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
        chain.devices = frozenset(_DEVICES.findall(base["at"] or ""))
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
        if chain.hook in hooks and table.split()[0] in families and _is_at(chain, packet):
            outcome = walk.through(chain)
            for suspect in outcome.suspects:
                yield suspect if not walk.is_spent else replace(suspect, sure=False)
            if chain.policy == "drop" and not outcome.ends:
                yield Suspect(f"{table}, chain {chain.name}: policy drop", not outcome.leaves, None)


def _is_at(chain: Chain, packet: Packet) -> bool:
    """Tell whether a chain's hook may be at the device by which the packet comes or leaves."""
    device = packet.leaves if chain.hook == "egress" else packet.came
    return not chain.devices or not device or device in chain.devices


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
        outcome = self.known.get(key)
        if outcome is None:
            outcome = self.known[key] = self._through(chain, depth)
        return outcome

    def _through(self, chain: Chain, depth: int) -> _Way:
        outcome = _Way()
        for rule in chain.rules:
            self.budget -= 1
            if self.is_spent or not pace().remaining():
                self.budget, outcome.leaves = 0, True
                break
            fits = self.fitting[rule.text] if rule.text in self.fitting else self._look(rule.text)
            if fits is not False and self._meets(outcome, chain, rule, fits is True, depth):
                outcome.ends = True
                break
        return outcome

    def _look(self, text: str) -> bool | None:
        self.fitting[text] = matches = fits(text, self.packet)
        return matches

    def _meets(self, way: _Way, chain: Chain, rule: Rule, fits: bool, depth: int) -> bool:
        """Add the effect of a rule that may match; return True if the packet certainly gets no further."""
        jump, ends = JUMP.search(rule.text), ENDS.search(rule.text)
        if jump and depth < _DEEPEST and (chain.table, jump[1]) in self.after:
            beyond = self.through(self.after[chain.table, jump[1]], depth + 1)
            for suspect in beyond.suspects:
                way.add(suspect, sure=fits)
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
        if QUEUE.search(rule.text) and rule.counted != 0:
            way.add(
                Suspect(_named(chain, rule, None), sure=False, meanwhile=None, is_queued=True), sure=False
            )
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
