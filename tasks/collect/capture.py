"""What a host reported, parsed from one script's output into typed values; pure functions of text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, TypedDict

from labrun.bounded import integer
from labrun.errors import CommandError, UnreadableError
from labrun.inventory.model import Address
from labrun.outcome import Fault, Status
from labrun.tasks.collect.checks import CheckResult, read_check
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.collect.durations import Durations, read_durations
from labrun.tasks.collect.evidence import Evidence, read_evidence
from labrun.tasks.collect.script import FORWARDING
from labrun.tasks.collect.segments import SegmentTry, read_segment
from labrun.tasks.guest.facts.links import Link, links, nics_by_mac
from labrun.tasks.guest.facts.routes import ObservedRoute, routes
from labrun.tasks.guest.shell import Facts, parse_facts
from labrun.tasks.state.sections import MACHINE

__all__ = ["Capture", "Ping", "RawRound", "Trace", "Unreachable", "read_capture"]

# A guest may print one endless line: none of these scans it more than once, and a TTL or an address is
# never longer than this.
_TTL, _WHO = r"(?P<ttl>[0-9]{1,3})", r"(?P<who>[0-9a-fA-F.:]{2,45})"
_HOP = re.compile(rf"\s*+{_TTL}\s++{_WHO}\s++[\d.]++ ms(?P<marks>(?:\s++![A-Z0-9<>-]*+)*+)\s*+")
_TRACEPATH = re.compile(
    rf"\s*+{_TTL}:\s++{_WHO}\s++[\d.]++ms *+(?:asymm ++\d++ *+)?(?:pmtu \d++ *+)?"
    r"(?P<marks>(?:![A-Z])?)(?:reached)?\s*+"
)
_EXCEEDED = re.compile(r"From (?P<who>[0-9a-fA-F.:]{2,45}?):? icmp_seq.*exceeded", re.IGNORECASE)
_REPLY = re.compile(r"\d++ bytes from (?P<who>[0-9a-fA-F.:]{2,45}?): icmp_seq")
_LONGEST_LINE, _LAST_TTL, _MOST_WORDS = 1000, 255, 100_000


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A host that could not be read, and why; UNKNOWN if it was lost midway.

    ``off`` = libvirt says that its machine does not run or exist.
    """

    reason: str
    status: Status = Status.UNREACHABLE
    off: bool = False

    def fault(self, host: str) -> Fault:
        """Return what every row follows from that needs this host to answer."""
        return Fault(host, self.reason, *((MACHINE.name, host) if self.off else ()))


@dataclass(frozen=True, slots=True)
class Trace:
    """The result of tracing one address.

    ``answers`` is by TTL, ``reached`` the TTL at which the target answered, None if it did not;
    ``method`` is ``udp``, ``echo`` (ICMP from the start), ``icmp`` (after UDP), ``tracepath`` or ``ping``;
    ``asked`` counts the attempts; ``refused`` is the node that reported the target unreachable or, if it
    is the target itself, refused the probe, with traceroute's letters for the reason. ``lost`` is what a
    reached target did not answer: ``large`` pings, every ``echo`` or, at random, ``some``.
    """

    answers: Mapping[int, Address]
    reached: int | None
    method: str
    asked: int
    refused: str | None = None
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """Whether a pinged target answered, and which target's trace stands for its path."""

    reached: bool
    like: str | None


@dataclass(frozen=True, slots=True)
class Capture:
    """Everything that one host reported.

    ``links`` are the NICs by MAC, ``devices`` all network devices, the loopback and bridges included. Traces
    and pings are by target host and IP version. ``out_of_band`` is why labrun could not log in, if the host
    was read without a login, and without traces; None = it was reached. ``no_login`` is why the lab file
    allows no login: then it was read in full, out of band; empty = it allows one. ``durations`` are those of
    its traces, pings and checks. ``segments`` has what became of full segments, by network and target host.
    """

    links: Mapping[str, Link]
    routes: tuple[ObservedRoute, ...]
    facts: Facts
    traces: Mapping[tuple[str, int], Trace] = field(default_factory=lambda: MappingProxyType({}))
    pings: Mapping[tuple[str, int], Ping] = field(default_factory=lambda: MappingProxyType({}))
    seconds: float = 0.0
    devices: tuple[Link, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    checks: Mapping[str, CheckResult] = field(default_factory=lambda: MappingProxyType({}))
    out_of_band: Unreachable | None = None
    no_login: str = ""
    durations: Durations = field(default_factory=Durations)
    segments: Mapping[tuple[str, str], SegmentTry] = field(default_factory=lambda: MappingProxyType({}))

    def forwards(self, version: int) -> bool | None:
        """Tell whether the kernel forwards, None if unknown."""
        text = self.facts.files.get(FORWARDING[version])
        return None if text is None else text.strip() not in ("", "0")


class RawRound(TypedDict):
    """What one run of a host's script brought back, as the task returns it: plain data beside the spec."""

    mark: str
    spec: CollectSpec
    stdout: str
    stderr: str
    exit_status: int
    seconds: float


def read_capture(raw: Mapping[str, Any]) -> Capture:
    """Return the capture from the raw result of the task ``collect``.

    Raises CommandError if the script did not reach its end, UnreadableError for output that ``ip -j``
    never prints.
    """
    facts = parse_facts(raw["stdout"], raw["mark"])
    spec: CollectSpec = raw["spec"]
    try:
        devices = links(facts)
        table = (*routes(facts, 4), *routes(facts, 6))
    except CommandError as error:
        # For verify, a failed `ip` is the same as one with unreadable output.
        raise UnreadableError(error.reason, step=error.step) from error
    traces: dict[tuple[str, int], Trace] = {}
    lost = _lost(facts)
    for number, asked in enumerate(spec.traces):
        output = facts.commands.get(f"trace {number}")
        key = asked.to, asked.address.version
        traces[key] = _trace(output.text if output else "", asked.address, lost.get(number))
    answered = facts.commands.get("pings")
    numbers = set(answered.text[:_MOST_WORDS].split()) if answered else set()
    pings: dict[tuple[str, int], Ping] = {
        (ping.to, ping.address.version): Ping(str(number) in numbers, ping.like)
        for number, ping in enumerate(spec.pings)
    }
    return Capture(
        links=MappingProxyType(nics_by_mac(devices)),
        devices=devices,
        routes=table,
        facts=facts,
        traces=MappingProxyType(traces),
        pings=MappingProxyType(pings),
        seconds=float(raw.get("seconds", 0.0)),
        evidence=read_evidence(facts),
        checks=MappingProxyType(_checks(spec, facts)),
        durations=read_durations(facts, spec, float(raw.get("seconds", 0.0))),
        segments=MappingProxyType(_segments(spec, facts)),
    )


def _checks(spec: CollectSpec, facts: Facts) -> dict[str, CheckResult]:
    return {
        asked.name: read_check(asked, facts.commands.get(f"check {number}"), facts)
        for number, asked in enumerate(spec.checks)
        if asked.kind != "trace"
    }


def _segments(spec: CollectSpec, facts: Facts) -> dict[tuple[str, str], SegmentTry]:
    read = (
        ((sent.network, sent.to), read_segment(facts.commands.get(f"segment {number}")))
        for number, sent in enumerate(spec.segments)
    )
    return {key: tried for key, tried in read if tried is not None}


def _lost(facts: Facts) -> dict[int, str]:
    output = facts.commands.get("large")
    words = [line.split(maxsplit=2) for line in output.text.splitlines()] if output else []
    pairs = [(integer(fields[0]), fields[1]) for fields in words if len(fields) == 2]
    return {number: what for number, what in pairs if number is not None}


def _trace(text: str, target: Address, lost: str | None = None) -> Trace:
    answers: dict[int, Address] = {}
    method, asked, refused, ttl = "", 0, None, 0
    for line in text.splitlines():
        if len(line) > _LONGEST_LINE:
            continue
        if line.startswith("by "):
            asked += 1
            method = method if line == "by again" else line[3:]
            continue
        if line.startswith("ttl "):
            ttl = integer(line[4:], most=_LAST_TTL) or 0
            continue
        hop = _HOP.fullmatch(line) or _TRACEPATH.fullmatch(line)
        match = hop or _EXCEEDED.match(line) or _REPLY.match(line)
        who = _responder(match["who"]) if match is not None else None
        place = integer(hop["ttl"], most=_LAST_TTL) if hop else ttl
        if who is None or place is None:
            continue
        if hop and hop["marks"].strip():
            refused = f"{who} {hop['marks'].strip()}"
            continue
        answers.setdefault(place, who)
    reached = min((place for place, who in answers.items() if who == target), default=None)
    return Trace(MappingProxyType(answers), reached, method, asked, refused, lost)


def _responder(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
