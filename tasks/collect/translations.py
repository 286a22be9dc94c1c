"""Rules not from labrun that change a packet's addresses, or keep the kernel from tracking its connection."""

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
    r'|xt target "(?:DNAT|SNAT|MASQUERADE|REDIRECT|(?P<untracked_xt>CT))"'
)
_JUMP = re.compile(r"\b(?:jump|goto) (\S+)")


@dataclass(frozen=True, slots=True)
class Translation:
    """A rule that may translate a packet; ``sure`` if the packet matches it for certain.

    ``is_untracked`` = it leaves the addresses alone, and no state is kept for the connection.
    """

    text: str
    sure: bool
    is_untracked: bool = False


def translates(ruleset: Ruleset) -> bool:
    """Tell whether any rule of a table that is not labrun's translates anything."""
    return any(
        _VERB.search(rule.text) for chain in ruleset.values() if _is_foreign(chain) for rule in chain.rules
    )


def translations(
    ruleset: Ruleset, packet: Packet, hooks: tuple[str, ...], families: tuple[str, ...]
) -> Iterator[Translation]:
    """Yield the rules, except labrun's, at these hooks and families that may translate the packet."""
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
            untracked = bool(verb["untracked"] or verb["untracked_xt"])
            text = rule.text if len(rule.text) <= _LONGEST else f"{rule.text[: _LONGEST - 1]}…"
            description = f"{chain.table}, chain {chain.name}: {text}"
            yield Translation(description, sure and matches is True, untracked)
        elif jump and jump[1] not in passed and (beyond := ruleset.get((chain.table, jump[1]))):
            passed.add(jump[1])
            yield from _through(ruleset, beyond, packet, passed, sure=sure and matches is True)
