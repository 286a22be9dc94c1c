"""Read from nftables' JSON which chains drop what nothing accepts of the forwarded packets.

iptables of today is there too: its tables are ``ip filter`` and ``ip6 filter``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from labrun.tasks.doctor.model import ForwardChain

__all__ = ["forward_chains", "legacy_chain"]

_Statement: TypeAlias = Mapping[str, Any]
_Where: TypeAlias = tuple[str, str]  # family and table
_Rules: TypeAlias = Mapping[str, list[list[_Statement]]]  # by chain

_FAMILIES = ("ip", "ip6", "inet")
_BRIDGES = "virbr*"
_ENDS = ("drop", "reject", "accept", "return")
_DEPTH = 8


def forward_chains(text: str, bridges: Iterable[str] = ()) -> tuple[ForwardChain, ...]:
    """Return the dropping chains in the output of ``nft -j list ruleset``.

    ``bridges`` are the names of libvirt's. Raises ValueError for a text that is not nft's.
    """
    bases: list[Mapping[str, Any]] = []
    names: dict[_Where, set[str]] = defaultdict(set)
    rules: dict[_Where, dict[str, list[list[_Statement]]]] = defaultdict(lambda: defaultdict(list))
    for entry in json.loads(text)["nftables"]:
        if (chain := entry.get("chain")) is not None:
            names[chain["family"], chain["table"]].add(chain["name"])
            if chain.get("hook") == "forward" and chain.get("type") == "filter":
                bases.append(chain)
        elif (rule := entry.get("rule")) is not None:
            rules[rule["family"], rule["table"]][rule["chain"]].append(rule["expr"])
    return tuple(_chains(bases, names, rules, {_BRIDGES, *filter(None, bridges)}))


def legacy_chain(text: str, family: str) -> ForwardChain | None:
    """Return FORWARD in the output of ``iptables-legacy -S``, None if its policy drops nothing."""
    lines = [line.split() for line in text.splitlines()]
    if ["-P", "FORWARD", "DROP"] not in lines:
        return None
    names = {line[1] for line in lines if line[:1] == ["-N"]}
    called = {line[3] for line in lines if line[:3] == ["-A", "FORWARD", "-j"]} & names
    accepted = {
        tuple(line[2:])
        for line in lines
        if line[:1] == ["-A"] and line[1] in {"FORWARD", *called} and line[-2:] == ["-j", "ACCEPT"]
    }
    return ForwardChain(
        family,
        "filter",
        "FORWARD",
        frozenset(names),
        lets_libvirt_in=any(name.startswith("LIBVIRT_FW") for name in called),
        lets_bridges_pass={(way, "virbr+", "-j", "ACCEPT") for way in ("-i", "-o")} <= accepted,
        is_legacy=True,
    )


def _chains(
    bases: Iterable[Mapping[str, Any]],
    names: Mapping[_Where, set[str]],
    rules: Mapping[_Where, _Rules],
    bridges: set[str],
) -> Iterator[ForwardChain]:
    for base in bases:
        where = (base["family"], base["table"])
        if base["family"] not in _FAMILIES or not _drops(base, rules[where]):
            continue
        reached = list(_reached(rules[where], base["name"], _DEPTH))
        yield ForwardChain(
            base["family"],
            base["table"],
            base["name"],
            frozenset(names[where]),
            lets_libvirt_in=any(chain.startswith("LIBVIRT_FW") for chain in reached),
            lets_bridges_pass=_lets_pass(rules[where], reached, bridges),
        )


def _drops(base: Mapping[str, Any], rules: _Rules) -> bool:
    """Tell whether a packet that no rule accepts is dropped, by the policy or by a last rule for all."""
    if base.get("policy") == "drop":
        return True
    own = rules.get(base["name"], [])
    return bool(own) and not _matches(own[-1]) and _verdict(own[-1]) in ("drop", "reject")


def _reached(rules: _Rules, chain: str, depth: int) -> Iterator[str]:
    yield chain
    if depth:
        for rule in rules.get(chain, []):
            for statement in rule:
                for kind in ("jump", "goto"):
                    if kind in statement:
                        yield from _reached(rules, statement[kind]["target"], depth - 1)


def _lets_pass(rules: _Rules, reached: Iterable[str], bridges: set[str]) -> bool:
    """Tell whether what comes from the bridges and what goes to them is accepted, or given to a zone."""
    keys: set[str] = set()
    for chain in reached:
        for rule in rules.get(chain, []):
            verdict, matches = _verdict(rule), _matches(rule)
            if verdict != "accept" and not _is_zone(rule):
                continue
            if not matches and verdict == "accept":
                return True
            if len(matches) == 1 and matches[0].get("right") in bridges:
                keys.add(str(matches[0].get("left", {}).get("meta", {}).get("key")))
    return {"iifname", "oifname"} <= keys


def _is_zone(rule: Iterable[_Statement]) -> bool:
    """Tell whether firewalld hands the packet to a zone that accepts: libvirt's own, or the trusted one."""
    zones = ("_libvirt", "_trusted")
    return any(
        str(statement.get(kind, {}).get("target", "")).endswith(zones)
        for statement in rule
        for kind in ("jump", "goto")
    )


def _matches(rule: Iterable[_Statement]) -> list[Mapping[str, Any]]:
    found = [statement["match"] for statement in rule if "match" in statement]
    # A match of iptables that nft has no words for.
    return found + [{} for statement in rule if "xt" in statement]


def _verdict(rule: Iterable[_Statement]) -> str:
    return next((kind for statement in rule for kind in _ENDS if kind in statement), "")
