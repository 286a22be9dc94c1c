"""What else a host showed that tells why packets get lost: neighbours, rules, kernel settings, nftables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from labrun.bounded import as_address, as_integer, as_prefix, as_text, integer, objects, read_json
from labrun.errors import UnreadableError
from labrun.inventory.model import Address, Prefix
from labrun.tasks.guest.shell import Facts
from labrun.tasks.state.netfilter import Ruleset, read_ruleset

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

_T = TypeVar("_T")
_Parse = Callable[[list[Mapping[str, Any]]], Iterable[_T]]
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
        return integer(self.settings.get(f"{_IPV4}/{key}"))

    def neighbour(self, device: str, address: Address) -> Neighbour | None:
        """Return the entry for an address on a device."""
        found = (each for each in self.neighbours if each.device == device and each.address == address)
        return next(found, None)


def read_evidence(facts: Facts) -> Evidence:
    """Return what the facts show; a part that is missing or cannot be read is empty: no row needs it."""
    return Evidence(
        neighbours=_read(facts, "neighbours", "neighbours", _neighbours),
        rules=(
            *_read(facts, "rules4", "rules", lambda found: _rules(found, 4)),
            *_read(facts, "rules6", "rules", lambda found: _rules(found, 6)),
        ),
        settings=facts.files,
        before=read_ruleset(_text(facts, "nft-before")),
        after=read_ruleset(_text(facts, "nft-after")),
    )


def _text(facts: Facts, name: str) -> str:
    said = facts.commands.get(name)
    return said.text if said is not None and said.status == 0 else ""


def _read(facts: Facts, name: str, kind: str, parse: _Parse[_T]) -> tuple[_T, ...]:
    try:
        return tuple(parse(objects(read_json(_text(facts, name) or "[]", name), name, kind)))
    except UnreadableError:
        return ()


def _neighbours(found: list[Mapping[str, Any]]) -> Iterator[Neighbour]:
    for each in found:
        mac, states = each.get("lladdr"), each.get("state")
        failed = isinstance(states, list) and ("FAILED" in states or "INCOMPLETE" in states)
        yield Neighbour(
            as_text(each.get("dev", ""), "neighbours"),
            as_address(each.get("dst"), "neighbours"),
            as_text(mac, "neighbours").lower() if mac else None,
            failed,
        )


def _rules(found: list[Mapping[str, Any]], version: int) -> Iterator[PolicyRule]:
    for each in found:
        priority, table = as_integer(each.get("priority", 0), "rules"), str(each.get("table", ""))
        if _DEFAULT.get(priority) == table and each.get("src") == "all" and "action" not in each:
            continue
        yield PolicyRule(
            priority,
            _prefix(each, "src"),
            _prefix(each, "dst"),
            as_text(each.get("action") or f"lookup {table}", "rules"),
            version,
            conditional=bool({"not", "fwmark", "iif", "oif", "ipproto", "sport", "dport", "tos"} & set(each)),
        )


def _prefix(rule: Mapping[str, Any], key: str) -> Prefix | None:
    address = rule.get(key, "all")
    if address == "all":
        return None
    given = as_address(address, "rules")
    length = as_integer(rule.get(f"{key}len", given.max_prefixlen), "rules", most=given.max_prefixlen)
    return as_prefix(f"{given}/{length}", "rules")
