"""Rows for paths: the traced hops against those that the lab file implies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from labrun.inventory.model import Address
from labrun.inventory.topology.expectations import Expectations
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.targets import targets_of
from labrun.outcome import Fault, Outcome, Pair, Status
from labrun.tasks.collect.blocked import cause_of_blocked
from labrun.tasks.collect.capture import Capture, Ping, Trace
from labrun.tasks.collect.causes import (
    Cause,
    Shown,
    cause,
    cause_of_hole,
    cause_of_loss,
    cause_of_translation,
    not_asked,
)
from labrun.tasks.collect.schedule import packet_size
from labrun.tasks.judging import guarded

__all__ = ["Judged", "path_row", "path_rows"]

_BY = {
    "icmp": "traced by ICMP: UDP got no answer, so that it gets through is not shown",
    "tracepath": "traced by tracepath: the host has no traceroute",
    "ping": "traced by ping: the host has no traceroute",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on an attempt to get through, and the host to blame for its failure."""

    status: Status
    actual: str | None
    why: str | None
    blamed: str | None = None
    fault: Fault | None = None
    due_to: Status | None = None

    @classmethod
    def by(cls, status: Status, actual: str | None, found: Cause) -> Judged:
        """Return the verdict that follows from a cause."""
        return cls(status, actual, found.why, found.blamed, found.fault)


def path_rows(
    shown: Shown, found: Expectations, source: str, targets: Iterable[str] | None = None
) -> Iterator[Outcome]:
    """Yield a row per target, and per IP version if both ends have IPv6 as well.

    ``targets`` are other hosts, None = those that are tried from this one.
    """
    for target in targets_of(found.lab, source) if targets is None else targets:
        versions = found.versions(source, target)
        for version in versions:
            suffix = " (IPv6)" if version == 6 and len(versions) > 1 else ""
            pair = Pair(source, target, version)
            yield _row(shown, found.path(source, target, version), pair, f"{source} -> {target}{suffix}")


def path_row(shown: Shown, path: Path) -> Outcome:
    """Return the row of one path."""
    version = path.address.version if path.address is not None else 4
    return _row(shown, path, Pair(path.source, path.target, version), f"{path.source} -> {path.target}")


def _row(shown: Shown, path: Path, pair: Pair, name: str) -> Outcome:
    expected: str | None = _text(path.hops)
    if path.fault is not None:
        expected = "unreachable, or outside the lab" if path.fault.outside else "unreachable"
    capture = shown.capture(path.source)
    if path.address is None:
        expected, judged = None, Judged(Status.SKIPPED, None, str(path.fault))
    elif capture is None:
        silence = shown.silence(path.source) or not_asked(path.source)
        judged = Judged(silence.status, None, silence.reason)
    elif capture.out_of_band is not None and not _is_tried(capture, pair):
        reason = cause(shown, path) if path.fault is None else None
        silence = capture.out_of_band
        judged = (
            Judged(silence.status, None, silence.reason)
            if reason is None
            else Judged.by(Status.FAILED, None, reason)
        )
    else:
        (judged,) = guarded(
            path.source,
            lambda: [_verdict(shown, path, capture)],
            lambda why: [Judged(Status.UNKNOWN, None, why)],
        )
    status, actual, why = judged.status, judged.actual, judged.why
    return Outcome(
        path.source,
        "path",
        name,
        status,
        expected,
        actual,
        why,
        subject=pair,
        blamed=judged.blamed,
        fault=judged.fault,
    )


def _is_tried(capture: Capture, pair: Pair) -> bool:
    key = pair.target, pair.family
    return key in capture.traces or key in capture.pings


def _verdict(shown: Shown, path: Path, capture: Capture) -> Judged:
    version = path.address.version if path.address is not None else 4
    ping = capture.pings.get((path.target, version))
    trace = capture.traces.get((path.target, version))
    if path.fault is not None:
        return _nothing_should(path, ping)
    if trace is not None:
        return _traced(shown, path, trace)
    if ping is not None:
        return _pinged(shown, path, ping, capture.traces.get((ping.like or "", version)))
    return _lost(shown, path, "*", None)


def _text(hops: tuple[Address | None, ...]) -> str:
    return " ".join("*" if hop is None else str(hop) for hop in hops)


def _nothing_should(path: Path, ping: Ping | None) -> Judged:
    if ping is not None and ping.reached and path.fault is not None and path.fault.outside:
        return Judged(
            Status.OK, "reached", f"by a path that the lab file does not have; by the lab file, {path.fault}"
        )
    if ping is not None and ping.reached:
        return Judged(Status.FAILED, "reached", f"by the lab file it cannot be: {path.fault}")
    return Judged(Status.OK, "unreachable", str(path.fault))


def _traced(shown: Shown, path: Path, trace: Trace) -> Judged:
    if trace.reached is None:
        last = max(trace.answers, default=0)
        hops = tuple(trace.answers.get(ttl) for ttl in range(1, last + 1))
        end = trace.refused or "*"
        return _lost(shown, path, " ".join(part for part in (_text(hops), end) if part), trace)
    hops = tuple(trace.answers.get(ttl) for ttl in range(1, trace.reached + 1))
    verdict = _compared(shown, path, hops, trace.asked)
    if verdict.status is Status.OK and trace.lost is not None:
        loss = cause_of_loss(shown, path, trace.lost, packet_size(shown.lab, path))
        verdict = verdict if loss is None else Judged.by(Status.FAILED, verdict.actual, loss)
    refused = f"traced by ICMP: UDP was refused ({trace.refused.split()[-1]})" if trace.refused else None
    return verdict if verdict.why else replace(verdict, why=refused or _BY.get(trace.method))


def _pinged(shown: Shown, path: Path, ping: Ping, like: Trace | None) -> Judged:
    if not ping.reached:
        return _lost(shown, path, "*", None)
    before = len(path.hops) - 1
    if like is None:
        hops: tuple[Address | None, ...] = (*(None for _ in range(before)), path.address)
    else:
        count = before if like.reached is None else like.reached - 1
        hops = (*(like.answers.get(ttl) for ttl in range(1, count + 1)), path.address)
    verdict = _compared(shown, path, hops, like.asked if like else 0)
    return verdict if verdict.why else replace(verdict, why=f"pinged; the path as traced to {ping.like}")


def _compared(shown: Shown, path: Path, hops: tuple[Address | None, ...], asked: int) -> Judged:
    """Judge the hops to a target that was reached."""
    actual = _text(hops)
    if _agree(path.hops, hops):
        holes = [
            ttl for ttl, (want, have) in enumerate(zip(path.hops, hops, strict=True), 1) if want and not have
        ]
        if not holes:
            changed = (
                cause_of_translation(shown, path)
                or cause_of_blocked(shown, path, "tcp")
                or cause_of_blocked(shown, path, "udp")
            )
            return (
                Judged(Status.OK, actual, None)
                if changed is None
                else Judged.by(Status.FAILED, actual, changed)
            )
        silent = ", ".join(
            f"{node} (hop {ttl})" for ttl, node in enumerate(path.way.through, 1) if ttl in holes
        )
        reasons = (
            cause_of_hole(shown, path, node, path.hops[ttl - 1])
            for ttl, node in enumerate(path.way.through, 1)
            if ttl in holes
        )
        known = "".join(f"; {each}" for each in dict.fromkeys(filter(None, reasons)))
        why = f"no answer from {silent}, {_times(asked)}; {path.target} answered{known}"
        return Judged(Status.UNKNOWN, actual, why)
    if path.way.redirected and _redirected(path, hops):
        names = ", ".join(path.way.through[place] for place in path.way.redirected)
        return Judged(Status.OK, actual, f"{names} left out after an ICMP redirect")
    if None in hops:
        why = f"hops without an answer, {_times(asked)}; {path.target} answered"
        return Judged(Status.UNKNOWN, actual, why)
    reason = cause(shown, path) or Cause("packets take another path than the lab file implies")
    return Judged.by(Status.FAILED, actual, reason)


def _redirected(path: Path, hops: tuple[Address | None, ...]) -> bool:
    """Tell whether the hops are the expected ones minus some that redirect.

    The source may learn the shorter path between two probes of one trace, so that a hop shows up
    twice: each position may hold the hop of any possible path.
    """
    redirecting = path.way.redirected[:6]  # 64 paths at most
    sets = (left for count in range(len(redirecting) + 1) for left in combinations(redirecting, count))
    variants = [[hop for place, hop in enumerate(path.hops) if place not in left] for left in sets]
    return any(len(variant) == len(hops) for variant in variants) and all(
        any(place < len(variant) and variant[place] in (hop, None) for variant in variants)
        for place, hop in enumerate(hops)
    )


def _times(asked: int) -> str:
    return "asked once" if asked == 1 else f"asked {asked} times"


def _agree(expected: tuple[Address | None, ...], hops: tuple[Address | None, ...]) -> bool:
    """Tell whether the hops that answered are the expected ones."""
    if len(expected) != len(hops):
        return False
    return all(
        want is None or have is None or want == have for want, have in zip(expected, hops, strict=True)
    )


def _lost(shown: Shown, path: Path, actual: str, trace: Trace | None) -> Judged:
    """Judge a target that was not reached."""
    reason = cause(shown, path)
    if reason is not None:
        return Judged.by(Status.FAILED, actual, reason)
    silence = shown.silence(path.target)
    if silence is not None:
        looked = shown.capture(path.target) is not None
        why = f"{path.target} does not answer{f': {silence.reason}' if looked else ''}"
        return Judged(Status.UNREACHABLE, actual, why, fault=silence.fault(path.target))
    if trace is not None and trace.refused:
        who, letters = trace.refused.split()[0], trace.refused.split()[-1]
        if who == str(path.address):
            return Judged(Status.FAILED, actual, f"{path.target} refuses it ({letters})", path.target)
        return Judged(Status.FAILED, actual, f"{who} reports no route onward")
    before = [node for ttl, node in enumerate(path.way.through, 1) if trace and ttl in trace.answers]
    why = f"no answer from beyond {before[-1]}" if before else "no answer"
    return Judged(Status.FAILED, actual, why)
