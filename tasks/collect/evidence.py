"""Further evidence of why packets get lost: neighbours, rules, kernel settings, nftables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from labrun.bounded import integer
from labrun.errors import CommandError
from labrun.inventory.model import Address
from labrun.tasks.guest.facts import neighbours, routes, rules
from labrun.tasks.guest.facts.neighbours import Neighbour
from labrun.tasks.guest.facts.nft import Ruleset, read_ruleset
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.guest.facts.rules import PolicyRule
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["AFTER", "BEFORE", "Evidence", "read_evidence"]

_NET = {4: "/proc/sys/net/ipv4", 6: "/proc/sys/net/ipv6"}
# How often IPsec policies and missing keys have cost a packet, of all connections together. The past says
# nothing: only what is counted while verify asks.
_IPSEC = "/proc/net/xfrm_stat"
_MOST_COUNTERS = 200
_TRACKED = ("/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max")
_BLOCKED = ("XfrmOutPolBlock", "XfrmInPolBlock", "XfrmInNoPols", "XfrmInTmplMismatch", "XfrmOutNoStates")
FILES = (
    f"{_NET[4]}/conf/*/rp_filter",
    f"{_NET[4]}/conf/*/forwarding",
    f"{_NET[4]}/conf/*/arp_ignore",
    f"{_NET[4]}/neigh/*/mcast_solicit",
    f"{_NET[6]}/neigh/*/mcast_solicit",
    f"{_NET[4]}/icmp_echo_ignore_all",
    f"{_NET[4]}/icmp_ratelimit",
    f"{_NET[6]}/icmp/ratelimit",
    f"{_NET[4]}/ip_default_ttl",
    f"{_NET[6]}/conf/*/disable_ipv6",
    f"{_NET[6]}/conf/*/hop_limit",
    f"{_NET[6]}/conf/*/mtu",
    f"{_NET[6]}/icmp/echo_ignore_all",
    *_TRACKED,
    _IPSEC,
)
"""Read together with the other files of the gather: they cost no extra process."""

BEFORE = (Probe(FILES), rules.PROBE, routes.LOCAL, Probe(script="capture nft-before nft -a list ruleset\n"))
AFTER = (
    neighbours.PROBE,
    routes.CACHED,
    Probe(script="capture nft-after nft -a list ruleset\n"),
    Probe(script=guest_script("ipsec_counters")),
)
"""Run after the traces: rule counters again, neighbours that did not answer ARP, redirects."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Facts that no row expects by itself; each of them may be missing.

    ``local`` are the prefixes that the host takes for its own, ``learned`` the routes that the kernel has
    from ICMP messages, ``missing_tables`` the kernel's own tables that no rule looks up, by IP version.
    ``blocked`` counts the packets that IPsec policies have blocked meanwhile.
    """

    neighbours: tuple[Neighbour, ...] = ()
    local: tuple[ObservedRoute, ...] = ()
    learned: tuple[ObservedRoute, ...] = ()
    rules: tuple[PolicyRule, ...] = ()
    missing_tables: tuple[tuple[int, str], ...] = ()
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    before: Ruleset = field(default_factory=lambda: MappingProxyType({}))
    after: Ruleset = field(default_factory=lambda: MappingProxyType({}))
    blocked: int = 0

    def setting(self, key: str, version: int = 4) -> int | None:
        """Return a setting below net.ipv4 or net.ipv6 as a number (``conf/eth0/rp_filter``), else None."""
        return integer(self.settings.get(f"{_NET[version]}/{key}"))

    @property
    def tracked(self) -> tuple[int, int] | None:
        """Return how many connections are tracked, and how many can be; None if none are."""
        count, most = (integer(self.settings.get(path)) for path in _TRACKED)
        return None if count is None or not most else (count, most)

    def neighbour(self, device: str, address: Address) -> Neighbour | None:
        """Return the neighbour entry for an address on a device."""
        matches = (entry for entry in self.neighbours if entry.device == device and entry.address == address)
        return next(matches, None)


def read_evidence(facts: Facts) -> Evidence:
    """Return the evidence in the facts; a missing or unreadable part is empty, since no row needs it."""
    return Evidence(
        neighbours=_if_readable(lambda: neighbours.neighbours(facts)),
        local=(
            *_if_readable(lambda: routes.local_routes(facts, 4)),
            *_if_readable(lambda: routes.local_routes(facts, 6)),
        ),
        learned=(
            *_if_readable(lambda: routes.learned_routes(facts, 4)),
            *_if_readable(lambda: routes.learned_routes(facts, 6)),
        ),
        rules=(
            *_if_readable(lambda: rules.rules(facts, 4)),
            *_if_readable(lambda: rules.rules(facts, 6)),
        ),
        missing_tables=tuple(
            (version, table)
            for version in (4, 6)
            for table in _if_readable(partial(rules.missing_tables, facts, version))
        ),
        settings=facts.files,
        before=read_ruleset(_text(facts, "nft-before")),
        after=read_ruleset(_text(facts, "nft-after")),
        blocked=max(0, _blocked(_text(facts, "ipsec-after")) - _blocked(facts.files.get(_IPSEC))),
    )


def _blocked(counters: str | None) -> int:
    """Return how many packets IPsec policies have blocked since the host started."""
    lines = [line.split() for line in (counters or "").splitlines()[:_MOST_COUNTERS]]
    return sum(integer(each[1]) or 0 for each in lines if len(each) == 2 and each[0] in _BLOCKED)


def _text(facts: Facts, name: str) -> str:
    captured = facts.commands.get(name)
    return captured.text if captured is not None and captured.status == 0 else ""


def _if_readable(read: Callable[[], tuple[_T, ...]]) -> tuple[_T, ...]:
    try:
        return read()
    except CommandError:
        return ()
