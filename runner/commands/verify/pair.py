"""`labrun verify --pair A:B`: one path hop by hop, as the lab file implies it and as observed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labrun.errors import UsageError
from labrun.inventory.file.problems import did_you_mean
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.steps import Step, steps_back, steps_there
from labrun.inventory.topology.wiring import HYPERVISOR_NODE
from labrun.outcome import Outcome
from labrun.runner.cli.report import Report
from labrun.runner.commands.verify.offline import offline_pair
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.causes import Shown, nic_name
from labrun.tasks.collect.traces import path_rows
from labrun.tasks.collect.unmanaged import with_own_devices, with_seen_macs
from labrun.tasks.guest.facts.routes import ObservedRoute

if TYPE_CHECKING:
    from labrun.inventory.model import Address, Lab
    from labrun.json_values import JsonObject

__all__ = ["nodes_of", "pair_of", "pair_report"]

Captures = Mapping[str, Capture | Unreachable]


def pair_of(lab: Lab, text: str) -> tuple[str, str]:
    """Return the two hosts of ``A:B``. Raises UsageError."""
    source, _, target = text.partition(":")
    for name in (source, target):
        if name not in lab.hosts:
            hint = did_you_mean(name, lab.hosts)
            what = f'unknown host "{name}"' if name else "two hosts are required, such as host01:host03"
            raise UsageError(f"{what}{f' ({hint})' if hint else ''}", step="--pair")
    if source == target:
        raise UsageError("two different hosts are required", step="--pair")
    return source, target


def nodes_of(lab: Lab, source: str, target: str) -> frozenset[str]:
    """Return the hosts on the forward and return path, including both ends."""
    paths = _paths(lab, source, target)
    every = {source, target, *(node for path in paths for node in (*path.way.through, *path.way.back))}
    return frozenset(every & set(lab.hosts))


def _paths(lab: Lab, source: str, target: str) -> list[Path]:
    expected = expectations(lab)
    return [expected.path(source, target, version) for version in expected.versions(source, target)]


def pair_report(lab: Lab, source: str, target: str, captures: Captures | None) -> Report:
    """Return the report on a pair; ``captures`` None = offline."""
    if captures is None:
        rows = offline_pair(lab, source, target)
    else:
        captures = with_own_devices(lab, captures)
        lab = with_seen_macs(lab, captures)
        rows = list(path_rows(Shown(lab, captures), expectations(lab), source, [target]))
    traces = [
        _traced(lab, path, row, captures or {})
        for path, row in zip(_paths(lab, source, target), rows, strict=True)
    ]
    text = "\n".join("".join(f"{line}\n" for line in trace.lines()) for trace in traces)
    return Report(lab.name, rows, extra={"pair": [trace.as_json() for trace in traces]}, text=text)


@dataclass(frozen=True, slots=True)
class _Hop:
    """What one node does with the packets, and its observed state, None = not read."""

    node: str
    does: str
    address: Address | None
    observed: str | None

    def as_json(self) -> dict[str, str | None]:
        address = str(self.address) if self.address is not None else None
        return {"node": self.node, "does": self.does, "address": address, "observed": self.observed}


@dataclass(frozen=True, slots=True)
class _Trace:
    """A path with its row, and the hops of the forward and return path."""

    path: Path
    row: Outcome
    there: tuple[_Hop, ...]
    back: tuple[_Hop, ...]

    def as_json(self) -> JsonObject:
        return {
            "name": self.row.name,
            "address": str(self.path.address) if self.path.address is not None else None,
            "expected": self.row.expected,
            "actual": self.row.actual,
            "status": self.row.status.value,
            "why": self.row.why,
            "fault": str(self.path.fault) if self.path.fault is not None else None,
            "there": [step.as_json() for step in self.there],
            "back": [step.as_json() for step in self.back],
        }

    def lines(self) -> Iterator[str]:
        yield f"{self.row.name}: {self.path.address or 'an address that is not in the lab file'}"
        width = max((len(step.node) for step in (*self.there, *self.back)), default=0)
        for title, steps in (("there", self.there), ("back", self.back)):
            if steps:
                yield f"  {title}"
            for number, step in enumerate(steps, 1):
                yield f"  {number:3}. {step.node:{width}}  {step.does}"
                if step.observed is not None:
                    yield f"       {'':{width}}  seen: {step.observed}"
        if self.path.fault is not None:
            yield f"  it ends at {self.path.fault}"
        yield f"  expected: {self.row.expected}"
        if self.row.actual is not None:
            yield f"  observed: {self.row.actual}"
        yield f"  {self.row.status.value}{'' if self.row.why is None else f': {self.row.why}'}"


def _traced(lab: Lab, path: Path, row: Outcome, captures: Captures) -> _Trace:
    forward = tuple(_step(lab, step, path, captures) for step in steps_there(lab, path))
    backward = tuple(_step(lab, step, path, captures) for step in steps_back(lab, path))
    return _Trace(path, row, forward, backward)


def _step(lab: Lab, step: Step, path: Path, captures: Captures) -> _Hop:
    is_forward = step.to == path.address
    start, end = (path.source, path.target) if is_forward else (path.target, path.source)
    does = _does(step, start, end, is_forward)
    return _Hop(step.node, does, step.address, _observed(lab, step, end, captures.get(step.node)))


def _does(step: Step, start: str, end: str, is_forward: bool) -> str:
    if step.node == end:
        return f"has {step.to}" + (" and answers with it" if is_forward else "")
    if step.node == HYPERVISOR_NODE:
        route = "forwards between its networks"
    elif step.route is None:
        return f"has no route to {step.to}"
    else:
        route = _route_text(str(step.route.prefix), step.route.via, step.route.nic)
    if step.node == start:
        return f"{route}, from {step.address}" if step.address is not None else route
    if not is_forward:
        return route
    return f"{route}; " + (
        f"answers as {step.address}" if step.address is not None else "no answer gets back"
    )


def _route_text(prefix: str, via: object, network: str) -> str:
    name = "default" if prefix in ("0.0.0.0/0", "::/0") else prefix
    return f"{name} via {via} on {network}" if via is not None else f"{name} out of {network}"


def _observed(lab: Lab, step: Step, end: str, capture: Capture | Unreachable | None) -> str | None:
    if isinstance(capture, Unreachable):
        return capture.reason
    if capture is None:
        return None
    if step.node == end:
        links = capture.links.values()
        addresses = {address.ip for link in links for address in (*link.addresses, *link.fleeting)}
        return f"has {step.to}" if step.to in addresses else f"{step.to} is missing"
    best = _best(capture, step)
    if best is None:
        return f"no route to {step.to}"
    if best.kind != "unicast":
        return f"a {best.kind} route to {best.prefix}"
    return _route_text(str(best.prefix), best.via, nic_name(lab, step.node, capture, best.device))


def _best(capture: Capture, step: Step) -> ObservedRoute | None:
    matching = [
        route
        for route in capture.routes
        if route.prefix.version == step.to.version and step.to in route.prefix
    ]
    return min(matching, key=lambda route: (-route.prefix.prefixlen, route.metric), default=None)
