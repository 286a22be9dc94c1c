"""Which pairs of hosts a declared check covers, and what it expects, in words."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from labrun.inventory.check_model import Check, Match
from labrun.inventory.duration import duration_seconds
from labrun.inventory.model import Address, Lab, Role
from labrun.inventory.topology.check_instance import ACCEPTED, CheckInstance
from labrun.inventory.topology.derived_checks import derived_trials
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.groups import group_members
from labrun.inventory.topology.hypervisor_forwards import udp_ends
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.wiring import Version, per_lab, wiring

__all__ = [
    "NEGATIVE",
    "expected_text",
    "instances_of",
    "is_about_nobody",
    "meets",
    "trials",
    "udp_targets",
    "wait_seconds",
]

NEGATIVE: Final = ("blocked", "refused", "filtered")


def trials(lab: Lab, check: Check) -> tuple[CheckInstance, ...]:
    """Return the rows of a check in file order, empty if no two different hosts match it."""
    sources = _hosts(lab, check.source)
    if check.to is None:
        alone = len(sources) == 1
        return tuple(CheckInstance(check, check.name if alone else f"{check.name}: {s}", s) for s in sources)
    fixed = _address(check.to)
    targets = _hosts(lab, check.to) if fixed is None else ()
    pairs = [(s, t) for s in sources for t in targets if s != t]
    instances = [CheckInstance(check, "", s, t, _tried(lab, s, t)) for s, t in pairs]
    if fixed is not None:
        instances = [CheckInstance(check, "", s, _owner(lab, fixed), fixed) for s in sources]
        instances = [trial for trial in instances if trial.source != trial.target]
    return tuple(
        CheckInstance(check, _name(check, trial, len(instances)), trial.source, trial.target, trial.address)
        for trial in instances
    )


def instances_of(lab: Lab, host: str) -> tuple[CheckInstance, ...]:
    """Return the checks that start at a host: the declared ones in file order, then the derived ones."""
    return _by_source(lab, 4).get(host, ())


@per_lab
def _by_source(lab: Lab, _version: Version) -> Mapping[str, tuple[CheckInstance, ...]]:
    # The result covers both IP versions; `per_lab` only serves as the cache here.
    instances: dict[str, list[CheckInstance]] = {}
    for check in lab.checks:
        for trial in trials(lab, check):
            instances.setdefault(trial.source, []).append(trial)
    for trial in derived_trials(lab):
        instances.setdefault(trial.source, []).append(trial)
    return {source: tuple(those) for source, those in instances.items()}


def udp_targets(lab: Lab) -> frozenset[str]:
    """Return the hosts whose sockets tell what an unanswered UDP check, or forwarded port, means."""
    return _udp_targets(lab, 4)


@per_lab
def _udp_targets(lab: Lab, _version: Version) -> frozenset[str]:
    every = (trial for trials_of in _by_source(lab, 4).values() for trial in trials_of)
    return udp_ends(lab).union(t.target for t in every if t.check.kind == "udp" and t.target)


def is_about_nobody(lab: Lab, check: Check) -> bool:
    """Tell whether a check matches no host, or no pair of hosts, although all its names are known."""
    known = {
        *lab.hosts,
        *lab.networks,
        *(f"@{each}" for each in (*lab.networks, *lab.groups, *Role, lab.name)),
    }
    names = [name for name in (check.source, check.to) if name is not None and _address(name) is None]
    return all(name in known for name in names) and not trials(lab, check)


def _name(check: Check, trial: CheckInstance, count: int) -> str:
    if count == 1:
        return check.name
    return f"{check.name}: {trial.source} -> {trial.target or trial.address}"


def _hosts(lab: Lab, name: str) -> tuple[str, ...]:
    groups = group_members(lab)
    if name.startswith("@"):
        return groups.get(name[1:], ())
    if name in lab.hosts:
        return (name,)
    return groups.get(name, ()) if name in lab.networks else ()


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _owner(lab: Lab, address: Address) -> str | None:
    return wiring(lab, 4 if address.version == 4 else 6).owner.get(address)


def _tried(lab: Lab, source: str, target: str) -> Address | None:
    version: Version = expectations(lab).versions(source, target)[0]
    return paths(lab, version).target_address(source, target)


def wait_seconds(check: Check) -> int:
    """Return how long a check is retried in seconds, 0 for a single attempt."""
    return duration_seconds(check.wait) if check.wait is not None else 0


def meets(expect: str, seen: str) -> bool:
    """Tell whether the observed result is the expected one; ``blocked`` means refused or filtered."""
    return seen == expect or seen in {"blocked": ("refused", "filtered"), ACCEPTED: ("open", "refused")}.get(
        expect, ()
    )


def expected_text(check: Check) -> str:
    """Return the expectation that a check's row shows."""
    if check.kind in ("sysctl", "sshd"):
        if len(check.values) == 1:
            return next(iter(check.values.values()))
        return ", ".join(f"{key} {value}" for key, value in check.values.items())
    if check.expect == ACCEPTED:
        return "open or refused"
    if check.expect != "open":
        return check.expect
    parts = []
    if check.via:
        parts.append("via " + " ".join(check.via))
    if check.kind == "exec" and (check.status is not None or check.match is None):
        parts.append(f"exit {check.status or 0}")
    if check.kind == "http" and check.status is not None:
        parts.append(str(check.status))
    if check.kind == "mtu":
        parts.append(check.target)
    if check.answer is not None:
        parts.append(str(check.answer))
    if check.match is not None:
        parts.append(_match_text(check.match))
    return ", ".join(parts) or check.expect


def _match_text(match: Match) -> str:
    parts = [] if match.json is None else [match.json]
    if match.equals is not None:
        parts.append(f"= {match.equals}")
    if match.contains is not None:
        parts.append(f"contains {match.contains}")
    if match.regex is not None:
        parts.append(f"matches {match.regex}")
    return " ".join(parts)
