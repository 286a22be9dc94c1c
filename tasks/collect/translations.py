"""Rules not from labrun that change a packet, or keep the kernel from tracking its connection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from labrun.tasks.guest.facts.nft import Chain, Ruleset
from labrun.tasks.guest.facts.nft_rules import Packet, fits

__all__ = ["Translation", "translates", "translations"]

# The name of labrun's own table: what it does is in the lab file.
_OWN_TABLE = "labrun"
_MOST_CHAINS = 500
_LONGEST = 300
_VERB = re.compile(
    r"\b(?:[ds]nat (?:ip6? )?(?:addr \. port )?to|masquerade|(?<!type )redirect(?: to|$))\b"
    r"|\b(?P<untracked>notrack)\b"
    r'|xt target "(?:DNAT|SNAT|MASQUERADE|REDIRECT|(?P<untracked_xt>CT)|(?P<written_xt>TTL|HL))"'
    # Whatever is written into a header, and a packet that is given to another device.
    r"|(?P<written>(?<![\w-])(?:ip6?|ether|icmp(?:v6)?|@(?:ll|nh|th),\d{1,5},\d{1,5}) "
    r"(?:(?!dscp|ecn|flowlabel)[a-z]{2,20} )?set)(?= )"
    r"|(?P<given>\bfwd to)\b"
)
# Who rewrites only this disturbs a trace, and seldom more.
_HOPS, _FAR = re.compile(r"\b(?:ttl|hoplimit) set ([0-9]{1,3})\b"), 16
_JUMP = re.compile(r"\b(?:jump|goto) (\S+)")


@dataclass(frozen=True, slots=True)
class Translation:
    """A rule that may change a packet; ``sure`` if the packet matches it for certain.

    ``does`` is what it does to it: it ``translates`` the addresses of its connection, ``does not track`` it,
    ``rewrites`` this one packet, or ``diverts`` it to another device.
    """

    text: str
    sure: bool
    does: str = "translates"


def translates(ruleset: Ruleset) -> bool:
    """Tell whether any rule of a table that is not labrun's translates anything."""
    return any(
        _VERB.search(rule.text) for chain in ruleset.values() if _is_foreign(chain) for rule in chain.rules
    )


def translations(
    ruleset: Ruleset, packet: Packet, hooks: tuple[str, ...], families: tuple[str, ...]
) -> Iterator[Translation]:
    """Yield the rules, except labrun's, at these hooks and families that may change the packet."""
    for chain in ruleset.values():
        if chain.hook in hooks and _is_foreign(chain) and chain.table.split()[0] in families:
            yield from _through(ruleset, chain, packet, {chain.name}, sure=True)


def _is_foreign(chain: Chain) -> bool:
    return chain.table.partition(" ")[2] != _OWN_TABLE


def _through(
    ruleset: Ruleset, chain: Chain, packet: Packet, passed: set[str], *, sure: bool
) -> Iterator[Translation]:
    for rule in chain.rules:
        verb, jump = _VERB.search(rule.text), _JUMP.search(rule.text)
        if not (verb or jump) or rule.counted == 0 or len(passed) > _MOST_CHAINS:
            continue
        matches = fits(rule.text[: verb.start()] if verb else rule.text, packet)
        if matches is False:
            continue
        if verb:
            text = rule.text if len(rule.text) <= _LONGEST else f"{rule.text[: _LONGEST - 1]}…"
            description = f"{chain.table}, chain {chain.name}: {text}"
            yield Translation(description, sure and matches is True and not _is_far(text), _does(verb))
        elif jump and jump[1] not in passed and (beyond := ruleset.get((chain.table, jump[1]))):
            passed.add(jump[1])
            yield from _through(ruleset, beyond, packet, passed, sure=sure and matches is True)


def _does(verb: re.Match[str]) -> str:
    if verb["untracked"] or verb["untracked_xt"]:
        return "does not track"
    if verb["given"]:
        return "diverts"
    return "rewrites" if verb["written"] or verb["written_xt"] else "translates"


def _is_far(text: str) -> bool:
    """Tell whether a rule lets a packet go further than any path of a lab, whatever it wrote before."""
    found = _HOPS.search(text)
    return found is not None and int(found[1]) >= _FAR
