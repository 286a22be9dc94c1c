"""What a host showed, parsed from one script's output into typed values; pure functions of text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from types import MappingProxyType
from typing import Any

from labrun.inventory.model import Address, Prefix
from labrun.outcome import Status
from labrun.tasks.collect.checks import Tried, read_check
from labrun.tasks.collect.evidence import Evidence, read_evidence
from labrun.tasks.collect.script import FORWARDING
from labrun.tasks.configure.shell import Facts, parse_facts

__all__ = ["Capture", "Link", "ObservedRoute", "Ping", "Trace", "Unreachable", "read_capture"]

_HOP = re.compile(r"\s*(?P<ttl>\d+)\s+(?P<who>[0-9a-fA-F.:]+)\s+[\d.]+ ms(?P<marks>(?:\s+![A-Z0-9<>-]*)*)\s*")
_TRACEPATH = re.compile(
    r"\s*(?P<ttl>\d+):\s+(?P<who>[0-9a-fA-F.:]+)\s+[\d.]+ms *(?:asymm +\d+ *)?(?:pmtu \d+ *)?"
    r"(?P<marks>(?:![A-Z])?)(?:reached)?\s*"
)
_EXCEEDED = re.compile(r"From (?P<who>[0-9a-fA-F.:]+?):? icmp_seq.*exceeded", re.IGNORECASE)
_REPLY = re.compile(r"\d+ bytes from (?P<who>[0-9a-fA-F.:]+?): icmp_seq")


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A host that nothing could be collected from, and why; UNKNOWN where it was lost in the middle."""

    reason: str
    status: Status = Status.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Link:
    """One NIC, by its MAC. ``fleeting`` are addresses that come and go (SLAAC, temporary).

    ``has_arp`` is False where it neither asks nor answers for MACs.
    """

    name: str
    mac: str
    is_up: bool
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    fleeting: tuple[IPv4Interface | IPv6Interface, ...] = ()
    mtu: int | None = None
    has_arp: bool = True


@dataclass(frozen=True, slots=True)
class ObservedRoute:
    """One route of the main table; ``kind`` is ``unicast`` or what else ip names (``blackhole`` ...)."""

    prefix: Prefix
    via: Address | None
    device: str
    kind: str = "unicast"
    protocol: str = ""
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """What tracing one address showed.

    ``answers`` is by TTL, ``reached`` the TTL at which the target answered, None where it did not;
    ``method`` is ``udp``, ``echo`` (ICMP from the start), ``icmp`` (after UDP), ``tracepath`` or ``ping``;
    ``asked`` counts the attempts; ``refused`` is who said that there is no way on, and in which letters.
    ``lost`` is what did not come back from a target that was reached: ``large`` pings or every ``echo``.
    """

    answers: Mapping[int, Address]
    reached: int | None
    method: str
    asked: int
    refused: str | None = None
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """Whether a pinged target answered, and whose traced way stands for its own."""

    reached: bool
    like: str | None


@dataclass(frozen=True, slots=True)
class Capture:
    """Everything one host showed. Traces and pings are by target host and IP version."""

    links: Mapping[str, Link]
    routes: tuple[ObservedRoute, ...]
    facts: Facts
    traces: Mapping[tuple[str, int], Trace] = field(default_factory=lambda: MappingProxyType({}))
    pings: Mapping[tuple[str, int], Ping] = field(default_factory=lambda: MappingProxyType({}))
    seconds: float = 0.0
    evidence: Evidence = field(default_factory=Evidence)
    checks: Mapping[str, Tried] = field(default_factory=lambda: MappingProxyType({}))

    def mac_of(self, device: str) -> str | None:
        """Return the MAC behind a device name."""
        return next((link.mac for link in self.links.values() if link.name == device), None)

    def forwards(self, version: int) -> bool | None:
        """Tell whether the kernel forwards, None where it did not say."""
        text = self.facts.files.get(FORWARDING[version])
        return None if text is None else text.strip() not in ("", "0")


def read_capture(raw: Mapping[str, Any]) -> Capture:
    """Return what the raw result of the task ``collect`` means.

    Raises CommandError where the script did not get to its end, ValueError for output that is not
    what ``ip -j`` prints.
    """
    facts = parse_facts(raw["stdout"], raw["mark"])
    spec = raw["spec"]
    # Where configure's facts came along, the addresses are among them.
    shown = "address" if "address" in facts.commands or "link" not in facts.commands else "link"
    links = {link.mac: link for link in _links(_json(facts, shown))}
    traces = {}
    lost = _lost(facts)
    for number, asked in enumerate(spec["traces"]):
        said = facts.commands.get(f"trace {number}")
        key = asked["to"], int(asked["version"])
        traces[key] = _trace(said.text if said else "", ip_address(asked["address"]), lost.get(number))
    answered = facts.commands.get("pings")
    numbers = set(answered.text.split()) if answered else set()
    pings = {
        (asked["to"], int(asked["version"])): Ping(str(number) in numbers, asked["like"])
        for number, asked in enumerate(spec["pings"])
    }
    return Capture(
        links=MappingProxyType(links),
        routes=tuple(_routes(_json(facts, "route4"), 4)) + tuple(_routes(_json(facts, "route6"), 6)),
        facts=facts,
        traces=MappingProxyType(traces),
        pings=MappingProxyType(pings),
        seconds=float(raw.get("seconds", 0.0)),
        evidence=read_evidence(facts),
        checks=MappingProxyType(_checks(raw["spec"], facts)),
    )


def _checks(spec: Mapping[str, Any], facts: Facts) -> dict[str, Tried]:
    return {
        asked["name"]: read_check(asked, facts.commands.get(f"check {number}"), facts)
        for number, asked in enumerate(spec.get("checks", ()))
        if asked["kind"] != "trace"
    }


def _lost(facts: Facts) -> dict[int, str]:
    said = facts.commands.get("large")
    words = [line.split() for line in said.text.splitlines()] if said else []
    return {int(each[0]): each[1] for each in words if len(each) == 2 and each[0].isdecimal()}


def _json(facts: Facts, name: str) -> list[Mapping[str, Any]]:
    said = facts.commands.get(name)
    if said is None or said.status != 0:
        raise ValueError(f"ip {name}: {said.last_line if said else 'not asked'}")
    # iproute2 prints nothing at all for an empty table.
    found = json.loads(said.text) if said.text.strip() else []
    return [each for each in found if each] if isinstance(found, list) else []


def _links(found: list[Mapping[str, Any]]) -> Iterator[Link]:
    for link in found:
        if link.get("link_type") != "ether":
            continue
        lasting: list[IPv4Interface | IPv6Interface] = []
        fleeting: list[IPv4Interface | IPv6Interface] = []
        for each in link.get("addr_info", ()):
            if each.get("scope") == "global" and "local" in each:
                comes_and_goes = each["family"] == "inet6" and (each.get("dynamic") or each.get("temporary"))
                address = ip_interface(f"{each['local']}/{each['prefixlen']}")
                (fleeting if comes_and_goes else lasting).append(address)
        flags = link.get("flags", ())
        yield Link(
            name=link["ifname"],
            mac=link.get("address", "").lower(),
            is_up="UP" in flags and link.get("operstate") != "DOWN",
            addresses=tuple(lasting),
            fleeting=tuple(fleeting),
            mtu=link.get("mtu"),
            has_arp="NOARP" not in flags,
        )


def _routes(found: list[Mapping[str, Any]], version: int) -> Iterator[ObservedRoute]:
    everything = "0.0.0.0/0" if version == 4 else "::/0"
    for route in found:
        dst = route["dst"]
        prefix = ip_network(everything if dst == "default" else dst)
        for hop in route.get("nexthops") or (route,):
            via = hop.get("gateway") or (hop.get("via") or {}).get("host")
            yield ObservedRoute(
                prefix=prefix,
                via=ip_address(via) if via else None,
                device=hop.get("dev", ""),
                kind=route.get("type", "unicast"),
                protocol=str(route.get("protocol", "")),
                metric=int(route.get("metric", 0)),
            )


def _trace(text: str, target: Address, lost: str | None = None) -> Trace:
    answers: dict[int, Address] = {}
    method, asked, refused, ttl = "", 0, None, 0
    for line in text.splitlines():
        if line.startswith("by "):
            asked += 1
            method = method if line == "by again" else line[3:]
            continue
        if line.startswith("ttl "):
            ttl = int(line[4:])
            continue
        hop = _HOP.fullmatch(line) or _TRACEPATH.fullmatch(line)
        said = hop or _EXCEEDED.match(line) or _REPLY.match(line)
        if said is None:
            continue
        who = ip_address(said["who"])
        place = int(hop["ttl"]) if hop else ttl
        if hop and hop["marks"].strip() and who != target:
            refused = f"{who} {hop['marks'].strip()}"
            continue
        answers.setdefault(place, who)
    reached = min((place for place, who in answers.items() if who == target), default=None)
    return Trace(MappingProxyType(answers), reached, method, asked, refused, lost)
