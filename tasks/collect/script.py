"""The single script a host runs for verify: facts first, then traces in waves, then pings."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import groupby

from labrun.tasks.collect.check_script import check_probe
from labrun.tasks.collect.collect_spec import CollectSpec, PingSpec, TraceSpec
from labrun.tasks.collect.durations import TIMED, TIMES
from labrun.tasks.collect.evidence import AFTER, BEFORE
from labrun.tasks.collect.schedule import SETTINGS
from labrun.tasks.collect.segments import segment_script
from labrun.tasks.guest.facts import claims, links, routes
from labrun.tasks.guest.facts.guard import PROBE as GUARD
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Probe, gather_script

__all__ = ["FORWARDING", "collect_probes", "collect_script"]

FORWARDING = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}

# An address is unusable until duplicate address detection has finished: up to two seconds after a
# NIC came up.
_SETTLE = guest_script("settle_ipv6")

# Traces run in the background, each with a separate file. Exactly as many probes are sent as hops are
# expected: each further one would cost the target one of its few answers per second.
# If UDP does not get through, or a firewall in the file drops it, ICMP echo probes two hops further,
# since echo replies are not rate-limited; without traceroute, tracepath does, and without that, ping
# with a rising TTL.
_TRACE = guest_script("trace")

# A router that answered the others may just have hit its rate limit: hops missing on the path to a
# reached target are asked again, one at a time and a second apart. A second round pays off only if
# the first one got any answer.
_AGAIN = guest_script("trace_again")

# Full-size packets get through, or are silently lost although small ones are not. A sender that gets
# an ICMP "too big" does not count as loss; ping's exit status 1 is "no answer", others are local errors.
_LARGE = guest_script("ping_large")

_PING = guest_script("ping")

_AT_ONCE = {"traces": 8, "pings": 16}


def collect_script(spec: CollectSpec, mark: str) -> str:
    """Return the shell text for a spec of ``collect_spec``; ``mark`` begins every frame."""
    return gather_script(collect_probes(spec), mark)


def collect_probes(spec: CollectSpec) -> list[Probe]:
    """Return the probes for a host, in the order they run."""
    # It listens for a while, and everything else goes on meanwhile.
    probes = [Probe(script=guest_script("room") + TIMED)] if _needs_room(spec) else []
    probes += [claims.begin(spec.macs)] if spec.macs else []
    probes += [Probe(tuple(FORWARDING.values())), links.PROBE, routes.PROBE6, *BEFORE]
    probes += [
        fact
        for resource in SETTINGS
        if resource.section in spec.settings
        for fact in resource.facts(spec.settings[resource.section])
    ]
    probes.append(Probe(script="".join(_traces(spec)) + "".join(_pings(spec))))
    if spec.segments:
        probes.append(Probe(script="".join(segment_script(spec.segments))))
    checks = check_probe(spec.checks, has_room=_needs_room(spec))
    if checks is not None:
        probes.append(checks)
    if _needs_room(spec):
        probes.append(TIMES)
    if spec.listeners:
        probes.append(Probe(script="capture listeners ss -H -lun\n"))
    probes += [claims.end()] if spec.macs else []
    probes += [*AFTER, GUARD]
    return probes


def _needs_room(spec: CollectSpec) -> bool:
    return bool(spec.macs or spec.traces or spec.pings or spec.checks or spec.segments)


def _traces(spec: CollectSpec) -> Iterator[str]:
    numbered = [(number, trace) for number, trace in enumerate(spec.traces)]
    if not numbered and not spec.pings:
        return
    addresses = [*(trace.address for trace in spec.traces), *(ping.address for ping in spec.pings)]
    if any(":" in str(address) for address in addresses):
        yield _SETTLE
    yield _TRACE
    last = 0
    for wave, members in groupby(sorted(numbered, key=lambda each: each[1].wave), lambda e: e[1].wave):
        yield f"sleep {wave - last}\n" if wave > last else ""
        last = wave
        calls = [
            f"timed trace.{n} trace {n} {_word(trace)} {trace.hops} {_by(trace)}" for n, trace in members
        ]
        yield from _in_parallel(calls, _AT_ONCE["traces"])
    yield _AGAIN + "holes() {\n:\n"
    for number, trace in numbered:
        yield f"timed trace.{number} again {number} {_word(trace)} {_by(trace)}\n"
    yield "}\nin_rounds\n"
    for number, _ in numbered:
        yield f'capture "trace {number}" cat "$tmp/{number}"\n'
    sized = [(number, trace) for number, trace in numbered if trace.size]
    if sized:
        yield _LARGE
        calls = [
            f"timed trace.{number} large {number} {_word(trace)} {trace.size}" for number, trace in sized
        ]
        yield from _in_parallel(calls, _AT_ONCE["pings"])
        yield 'capture large cat "$tmp/large"\n'


def _pings(spec: CollectSpec) -> Iterator[str]:
    if not spec.pings:
        return
    yield _PING
    calls = [
        f"timed ping.{number} {'ping_once' if ping.like is None else 'ping_twice'} {number} {_word(ping)}"
        for number, ping in enumerate(spec.pings)
    ]
    yield from _in_parallel(calls, _AT_ONCE["pings"])
    yield 'capture pings cat "$tmp/pings"\n'


def _in_parallel(calls: list[str], at_once: int) -> Iterator[str]:
    for start in range(0, len(calls), at_once):
        yield "".join(f"{call} &\n" for call in calls[start : start + at_once]) + "wait\n"


def _by(item: TraceSpec) -> str:
    return item.by


def _word(item: TraceSpec | PingSpec) -> str:
    # Through ipaddress, so that only an address can end up in the script.
    return str(ip_address(item.address))
