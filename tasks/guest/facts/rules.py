"""Policy routing rules: ``ip -j rule``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labrun.bounded import as_address, as_integer, as_prefix, as_text
from labrun.inventory.model import Prefix
from labrun.tasks.guest.facts.answers import rows
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["PROBE", "PolicyRule", "missing_tables", "rules"]

PROBE = Probe(script="capture rules4 ip -4 -j rule show\ncapture rules6 ip -6 -j rule show\n")
_SELECTORS = ("fwmark", "iif", "oif", "ipproto", "sport", "dport", "tos", "tun_id", "l3mdev")
# A lookup with these does not take every route of its table.
_SUPPRESSED = ("suppress_prefixlength", "suppress_prefixlen", "suppress_ifgroup")
_DEFAULT = {0: "local", 32766: "main", 32767: "default"}


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule of ``ip rule`` beyond the kernel's default three; None as prefix means all.

    ``iif`` is the device that a packet has to come in by, empty for any. ``conditions`` are all selectors
    beyond the prefixes, as ``ip rule`` writes them. ``negated`` = it is for packets that do not match.
    """

    priority: int
    source: Prefix | None
    target: Prefix | None
    action: str
    version: int
    iif: str = ""
    conditions: str = ""
    negated: bool = False

    @property
    def conditional(self) -> bool:
        """Tell whether more than the addresses of a packet decides."""
        return bool(self.conditions)

    def __str__(self) -> str:
        target = f"to {self.target} " if self.target is not None else ""
        only = f"{self.conditions} " if self.conditions else ""
        nots = "not " if self.negated else ""
        return f"ip rule {self.priority}: {nots}from {self.source or 'all'} {target}{only}{self.action}"


def rules(facts: Facts, version: int) -> tuple[PolicyRule, ...]:
    """Return the rules of one IP version beyond the kernel's own. Raises CommandError, UnreadableError."""
    return tuple(_rules(rows(facts, f"rules{version}", "rules", "rules"), version))


def missing_tables(facts: Facts, version: int) -> tuple[str, ...]:
    """Return which of ``local`` and ``main`` no rule looks up for every packet.

    The kernel has such rules from the start. Raises CommandError, UnreadableError.
    """
    everything = {
        str(rule.get("table", ""))
        for rule in rows(facts, f"rules{version}", "rules", "rules")
        if rule.get("src") == "all" and "dst" not in rule and "not" not in rule and not any(_conditions(rule))
    }
    return tuple(table for table in ("local", "main") if table not in everything)


def _rules(rules: list[Mapping[str, Any]], version: int) -> Iterator[PolicyRule]:
    for rule in rules:
        priority, table = as_integer(rule.get("priority", 0), "rules"), str(rule.get("table", ""))
        if _DEFAULT.get(priority) == table and rule.get("src") == "all" and "action" not in rule:
            continue
        yield PolicyRule(
            priority,
            _prefix(rule, "src"),
            _prefix(rule, "dst"),
            as_text(rule.get("action") or _action(rule, table), "rules"),
            version,
            iif=as_text(rule.get("iif", ""), "rules"),
            conditions=" ".join(_conditions(rule)),
            negated="not" in rule,
        )


def _prefix(rule: Mapping[str, Any], key: str) -> Prefix | None:
    address = rule.get(key, "all")
    if address == "all":
        return None
    given = as_address(address, "rules")
    length = as_integer(rule.get(f"{key}len", given.max_prefixlen), "rules", most=given.max_prefixlen)
    return as_prefix(f"{given}/{length}", "rules")


def _action(rule: Mapping[str, Any], table: str) -> str:
    return f"goto {as_integer(rule['goto'], 'rules')}" if rule.get("goto") is not None else f"lookup {table}"


def _conditions(rule: Mapping[str, Any]) -> Iterator[str]:
    for name in (*_SELECTORS, *_SUPPRESSED):
        if rule.get(name) is not None:
            yield f"{name} {as_text(str(rule[name]), 'rules')}"
    for name, first, last in (
        ("uidrange", "uid_start", "uid_end"),
        ("sport", "sport_start", "sport_end"),
        ("dport", "dport_start", "dport_end"),
    ):
        if rule.get(first) is not None:
            yield f"{name} {as_text(str(rule[first]), 'rules')}-{as_text(str(rule.get(last)), 'rules')}"
