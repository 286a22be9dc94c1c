"""Which pairs are traced, which only pinged, and when: routers answer few traces in a row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from labrun.inventory.model import Host, Lab
from labrun.inventory.topology.checks import instances_of, udp_targets
from labrun.inventory.topology.expectations import Expectations, expectations
from labrun.inventory.topology.nm_properties import mtu_of
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.segments import SegmentTrial
from labrun.inventory.topology.targets import targets_of
from labrun.tasks.collect.check_script import seconds_of
from labrun.tasks.collect.check_spec import check_specs
from labrun.tasks.collect.collect_spec import CollectSpec, PingSpec, TraceSpec
from labrun.tasks.collect.nm_settings import NmcliOfFile
from labrun.tasks.collect.segments import segment_seconds, segment_specs
from labrun.tasks.configure.plan import Resource
from labrun.tasks.configure.resources import RESOURCES
from labrun.tasks.state.sections import section_of

__all__ = [
    "ALL_PAIRS",
    "LARGEST",
    "SETTINGS",
    "collect_spec",
    "drops_udp",
    "packet_size",
    "patience_for",
    "seconds_for",
]

ALL_PAIRS = 10
"""Up to this many hosts every ordered pair is traced; beyond that, one target per network and path."""

LARGEST = 1500
"""The MTU of a network that names none, in bytes; also the largest packet that verify sends."""

SETTINGS: tuple[Resource, ...] = (
    *(resource for resource in RESOURCES if section_of(resource.section).verified),
    NmcliOfFile(),
)
"""What verify judges with the same code as configure, so that the two cannot disagree."""

# Linux sends one destination 6 ICMP errors in a burst, then one per second
# (net.ipv4.icmp_ratelimit); one is left for other users.
_BURST = 5
_WAVE_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Wave:
    """The waves of one source: the answers requested from each node up to each wave."""

    asked: list[dict[str, int]]

    def place(self, nodes: Collection[str]) -> int:
        """Return the first wave that overloads none of the nodes; waves are 1 s apart."""
        wave = 0
        while not all(self._fits(node, wave) for node in nodes):
            wave += 1
        while len(self.asked) <= wave:
            self.asked.append({})
        for node in nodes:
            self.asked[wave][node] = self.asked[wave].get(node, 0) + 1
        return wave

    def _fits(self, node: str, wave: int) -> bool:
        # Later waves must stay feasible too.
        used = 0
        for number in range(max(wave + 1, len(self.asked))):
            used += self.asked[number].get(node, 0) if number < len(self.asked) else 0
            if number >= wave and used + 1 > _BURST + number:
                return False
        return True


def collect_spec(
    lab: Lab,
    host_name: str,
    *,
    skip: Collection[str] = (),
    full: bool = False,
    segments: Sequence[SegmentTrial] = (),
) -> CollectSpec:
    """Return what to collect on a host; ``skip`` names hosts known to be down.

    ``full`` traces all pairs, regardless of the size of the lab; otherwise a large lab has a choice of
    targets (:func:`targets_of`). ``segments`` are trials of full segments, of all hosts.
    Raises KeyError for unknown names.
    """
    host = lab.hosts[host_name]
    targets = (each for each in targets_of(lab, host_name, full=full) if each not in skip)
    paths = [path for path in _paths(expectations(lab), host, targets) if path.address]
    asked = {
        (t.target, t.address.version)
        for t in instances_of(lab, host_name)
        if t.check.kind == "trace" and t.address
    }
    traced, pinged = _split(lab, paths, full or len(lab.hosts) <= ALL_PAIRS, asked)
    waves = _Wave([])
    return CollectSpec(
        traces=tuple(
            TraceSpec(
                to=path.target,
                address=path.address,
                hops=len(path.hops),
                wave=waves.place((*path.way.through, path.target)),
                size=_payload(lab, path),
                by="echo" if drops_udp(lab, path) else "udp",
            )
            for path in traced
            if path.address
        ),
        pings=tuple(PingSpec(path.target, path.address, like) for path, like in pinged if path.address),
        settings={
            resource.section: want
            for resource in SETTINGS
            if (want := resource.desired(lab, host)) is not None
        },
        checks=tuple(check_specs(lab, host_name)),
        listeners=host_name in udp_targets(lab),
        macs=tuple(nic.mac for nic in host.interfaces if nic.mac),
        segments=segment_specs(segments, host_name),
    )


def _paths(found: Expectations, host: Host, targets: Iterable[str]) -> Iterator[Path]:
    for target in targets:
        for version in found.versions(host.name, target):
            yield found.path(host.name, target, version)


def _split(
    lab: Lab, paths: list[Path], every: bool, asked: Collection[tuple[str | None, int]]
) -> tuple[list[Path], list[tuple[Path, str | None]]]:
    traced: list[Path] = []
    pinged: list[tuple[Path, str | None]] = []
    first: dict[tuple[object, ...], str] = {}
    for path in paths:
        if path.fault is not None:
            pinged.append((path, None))
            continue
        kind = (path.way.answers, path.way.through, _network(lab, path))
        named = path.address is not None and (path.target, path.address.version) in asked
        if not every and not named and kind in first:
            pinged.append((path, first[kind]))
        else:
            first.setdefault(kind, path.target)
            traced.append(path)
    return traced, pinged


def drops_udp(lab: Lab, path: Path) -> bool:
    """Tell whether a firewall in the file drops a trace's datagrams, but not echo requests."""
    chains = [(node, "forward") for node in path.way.through] + [(path.target, "input")]
    firewalls = [(lab.hosts[node].firewall, chain) for node, chain in chains if node in lab.hosts]
    return any(firewall and getattr(firewall, chain) == "drop" for firewall, chain in firewalls)


def packet_size(lab: Lab, path: Path) -> int:
    """Return the size in bytes of a packet that must pass unfragmented, by the MTUs of networks and NICs."""
    crossed = {path.source, path.target, *path.way.through, *path.way.back}
    nics = (nic for name in crossed if name in lab.hosts for nic in lab.hosts[name].interfaces)
    sizes = (mtu_of(nic) or lab.networks[nic.network].mtu or LARGEST for nic in nics)
    return min([LARGEST, *sizes])


def _payload(lab: Lab, path: Path) -> int:
    """Return the ping payload for a packet of that size; 0 if the file cannot determine the size."""
    if any(lab.hosts[name].machine is None for name in (path.source, path.target)):
        return 0
    return packet_size(lab, path) - (48 if path.address is not None and path.address.version == 6 else 28)


def _network(lab: Lab, path: Path) -> str:
    for nic in lab.hosts[path.target].interfaces:
        if path.address in [given.ip for given in nic.addresses]:
            return nic.network
    return ""


def seconds_for(spec: CollectSpec) -> float:
    """Return a deadline in seconds for the script: enough for a lab where everything is broken, and slack."""
    traces, pings = spec.traces, spec.pings
    waves = 1 + max((trace.wave for trace in traces), default=0)
    longest = max((trace.hops for trace in traces), default=0)
    rounds = waves + len(traces) // _WAVE_AT_ONCE
    return (
        45.0
        + rounds * (4.0 + longest)
        + (len(pings) + len(traces)) / 4
        + seconds_of(spec.checks)
        + segment_seconds(spec.segments)
    )


def patience_for(spec: CollectSpec) -> float:
    """Return the extra seconds for retried checks: their longest wait and a last round."""
    waits = [check.wait for check in spec.checks]
    return max(waits, default=0) and max(waits) + seconds_for(spec)
