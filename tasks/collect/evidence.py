"""What else a host showed that tells why packets get lost: neighbours, rules, kernel settings, nftables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Any

from labrun.inventory.model import Address, Prefix
from labrun.tasks.collect.netfilter import Ruleset, read_ruleset
from labrun.tasks.configure.shell import Facts

__all__ = ["AFTER", "BEFORE", "FILES", "Evidence", "Neighbour", "PolicyRule", "read_evidence"]

_IPV4 = "/proc/sys/net/ipv4"
FILES = (
    f"{_IPV4}/conf/*/rp_filter",
    f"{_IPV4}/conf/*/forwarding",
    f"{_IPV4}/icmp_echo_ignore_all",
    f"{_IPV4}/ip_default_ttl",
)
"""Read together with the other files of the gather: no process of their own."""

BEFORE = """\
capture rules4 ip -4 -j rule show
capture rules6 ip -6 -j rule show
capture nft-before nft -a list ruleset
"""
AFTER = """\
capture neighbours ip -j neighbour show
capture nft-after nft -a list ruleset
"""
"""Asked once more when the traces are through: what counted and who did not answer ARP."""

_DEFAULT = {0: "local", 32766: "main", 32767: "default"}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table; ``mac`` is None where nobody answered."""

    device: str
    address: Address
    mac: str | None
    failed: bool


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule of ``ip rule`` beyond the kernel's three; None as prefix means all."""

    priority: int
    source: Prefix | None
    target: Prefix | None
    action: str
    version: int
    conditional: bool = False

    def __str__(self) -> str:
        goes = f"to {self.target} " if self.target is not None else ""
        return f"ip rule {self.priority}: from {self.source or 'all'} {goes}{self.action}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Facts that no row expects by itself; all of them may be missing."""

    neighbours: tuple[Neighbour, ...] = ()
    rules: tuple[PolicyRule, ...] = ()
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    before: Ruleset = field(default_factory=lambda: MappingProxyType({}))
    after: Ruleset = field(default_factory=lambda: MappingProxyType({}))

    def setting(self, key: str) -> int | None:
        """Return a setting below net.ipv4 as a number (``conf/eth0/rp_filter``), None where unknown."""
        text = self.settings.get(f"{_IPV4}/{key}", "").strip()
        return int(text) if text.isdecimal() else None

    def neighbour(self, device: str, address: Address) -> Neighbour | None:
        """Return the entry for an address on a device."""
        found = (each for each in self.neighbours if each.device == device and each.address == address)
        return next(found, None)


def read_evidence(facts: Facts) -> Evidence:
    """Return what the facts show; a command that is missing in the guest leaves its part empty."""
    after = _text(facts, "nft-after")
    return Evidence(
        neighbours=tuple(_neighbours(_json(facts, "neighbours"))),
        rules=(*_rules(_json(facts, "rules4"), 4), *_rules(_json(facts, "rules6"), 6)),
        settings=facts.files,
        before=read_ruleset(_text(facts, "nft-before")),
        after=read_ruleset(after),
    )


def _text(facts: Facts, name: str) -> str:
    said = facts.commands.get(name)
    return said.text if said is not None and said.status == 0 else ""


def _json(facts: Facts, name: str) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(_text(facts, name) or "[]")
    except ValueError:
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _neighbours(found: list[Mapping[str, Any]]) -> Iterator[Neighbour]:
    for each in found:
        mac = each.get("lladdr")
        failed = bool({"FAILED", "INCOMPLETE"} & set(each.get("state", ())))
        yield Neighbour(each.get("dev", ""), ip_address(each["dst"]), mac.lower() if mac else None, failed)


def _rules(found: list[Mapping[str, Any]], version: int) -> Iterator[PolicyRule]:
    for each in found:
        priority, table = int(each.get("priority", 0)), str(each.get("table", ""))
        if _DEFAULT.get(priority) == table and each.get("src") == "all" and "action" not in each:
            continue
        yield PolicyRule(
            priority,
            _prefix(each, "src"),
            _prefix(each, "dst"),
            str(each.get("action") or f"lookup {table}"),
            version,
            conditional=bool({"not", "fwmark", "iif", "oif", "ipproto", "sport", "dport", "tos"} & set(each)),
        )


def _prefix(rule: Mapping[str, Any], key: str) -> Prefix | None:
    address = rule.get(key, "all")
    if address == "all":
        return None
    given = ip_address(address)
    return ip_network(f"{given}/{rule.get(f'{key}len', given.max_prefixlen)}", strict=False)
