"""What decides among routes and names: metrics, policy rules and search domains that a profile gives.

They are compared only where the profile gives them: NetworkManager picks its own otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from labrun.inventory.model import Prefix
from labrun.tasks.guest.facts.nics import ManagedNic, Nic
from labrun.tasks.guest.facts.nm import RESOLVER, Device, NmState
from labrun.tasks.guest.facts.rules import PolicyRule
from labrun.tasks.guest.keyfile import Intent, Sections, intent

__all__ = ["choices_diff", "ipv6_diff", "lacking", "resolver_diff", "shown_choices"]

_TABLES = {"253": "default", "254": "main", "255": "local"}
_OWN_TABLES = frozenset(_TABLES.values())


@dataclass(frozen=True, slots=True)
class _Rule:
    """The parts of a rule that NetworkManager and the kernel spell alike; None as prefix means all."""

    priority: int
    source: Prefix | None
    target: Prefix | None
    action: str
    iif: str
    negated: bool

    def is_met_by(self, rule: PolicyRule) -> bool:
        """Tell whether the kernel's rule is this one."""
        mine = (self.priority, self.source, self.target, self.iif, self.negated)
        its = (rule.priority, rule.source, rule.target, rule.iif, rule.negated)
        return mine == its and (self.action == rule.action or _is_named(rule.action))


def _is_named(action: str) -> bool:
    """Tell whether the kernel's rule looks up a table by a name of the host's, which may be any number."""
    table = action.removeprefix("lookup ")
    return table != action and not table.isdecimal() and table not in _OWN_TABLES


def _rule(text: str) -> _Rule | None:
    """Return a rule as NetworkManager writes it, None if a part of it cannot be read."""
    words = iter(text.split())
    found: dict[str, str] = {}
    negated = False
    for word in words:
        if word == "not":
            negated = True
        else:
            found[word] = next(words, "")
    table = found.get("table") or found.get("lookup") or "254"
    try:
        return _Rule(
            int(found.get("priority", "")),
            _prefix(found.get("from", "")),
            _prefix(found.get("to", "")),
            found.get("type") or f"lookup {_TABLES.get(table, table)}",
            found.get("iif", ""),
            negated,
        )
    except ValueError:
        return None


def _prefix(text: str) -> Prefix | None:
    if not text or text == "all":
        return None
    prefix = ip_network(text, strict=False)
    return prefix if prefix.prefixlen else None


def choices_diff(
    sections: Sections, device: ManagedNic, link: Nic, rules: tuple[PolicyRule, ...] | None
) -> Iterator[str]:
    """Yield the metrics, policy rules and search domains in which the kernel differs from the profile."""
    for version in (4, 6):
        meant = intent(sections, version)
        yield from _metrics_diff(meant, link, version)
        there = [rule for rule in rules or () if rule.version == version]
        if rules is not None:
            yield from (f"+ip rule {text}" for text in meant.rules if not _is_there(text, there))
        if device.searches is not None and meant.method not in ("disabled", "ignore"):
            known = set(map(_domain, device.searches))
            missing = [domain for domain in meant.searches if _domain(domain) not in known]
            surplus = [domain for domain in device.searches if _domain(domain) not in _asked(sections)]
            if missing:
                yield from (f"-{device.interface}: search {domain}" for domain in surplus)
                yield f"+{device.interface}: search {' '.join(missing)}"


def resolver_diff(sections: Sections, device: Device, state: NmState) -> Iterator[str]:
    """Yield the NIC's name servers that NetworkManager wrote into /etc/resolv.conf and are gone.

    They are the profile's, and those that a DHCP server or a router gave.
    """
    if state.resolver is None:
        return
    have, written = state.resolver
    asked = (server for version in (4, 6) for server in intent(sections, version).dns)
    own = dict.fromkeys([*asked, *device.dns])
    missing = [server for server in own if server in written and server not in have]
    if missing:
        yield from (f"-{RESOLVER}: nameserver {server}" for server in have if server not in written)
        yield f"+{RESOLVER}: nameserver {' '.join(missing)}"


def ipv6_diff(sections: Sections, interface: str, no_ipv6: frozenset[str]) -> Iterator[str]:
    """Yield the kernel's switch that keeps a profile's IPv6 addresses off the NIC."""
    meant = intent(sections, 6)
    if interface in no_ipv6 and (meant.addresses or meant.method == "auto"):
        yield f"-net.ipv6.conf.{interface}.disable_ipv6: 1"
        yield f"+net.ipv6.conf.{interface}.disable_ipv6: 0"


def _is_there(text: str, there: Sequence[PolicyRule]) -> bool:
    rule = _rule(text)
    return rule is None or any(rule.is_met_by(each) for each in there)


def _asked(sections: Sections) -> set[str]:
    return {_domain(domain) for version in (4, 6) for domain in intent(sections, version).searches}


def _domain(text: str) -> str:
    return text.removeprefix("~").rstrip(".").lower()


def _metrics_diff(meant: Intent, link: Nic, version: int) -> Iterator[str]:
    for hop in sorted(link.routes, key=str):
        if hop.prefix.version != version:
            continue
        wanted = meant.metrics.get(hop, frozenset())
        if not wanted and link.routes[hop] == "dhcp" and meant.metric is not None:
            wanted = frozenset({meant.metric})
        there = link.metrics.get(hop, frozenset())
        if wanted and there and wanted != there:
            yield from (f"-route {hop} metric {metric}" for metric in sorted(there - wanted))
            yield from (f"+route {hop} metric {metric}" for metric in sorted(wanted - there))


def shown_choices(
    sections: Sections, device: ManagedNic, link: Nic, rules: tuple[PolicyRule, ...] | None
) -> Iterator[str]:
    """Yield the state of what :func:`choices_diff` compares, for comparison with an earlier run."""
    for version in (4, 6):
        meant = intent(sections, version)
        for hop in sorted(link.metrics, key=str):
            if hop.prefix.version == version and (hop in meant.metrics or meant.metric is not None):
                yield from (f"metric {hop} {metric}" for metric in sorted(link.metrics[hop]))
        if meant.rules:
            yield from sorted(str(rule) for rule in rules or () if rule.version == version)
        if meant.searches:
            yield f"search {' '.join(device.searches or ())}"


def lacking(diff: Iterable[str]) -> str | None:
    """Return what a diff adds as a reason, None if it adds nothing."""
    lines = [line.removeprefix("+") for line in diff if line.startswith("+")]
    return f"it should have {', '.join(lines)}" if lines else None
