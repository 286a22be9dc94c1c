"""The rows of drift: every network, machine, setting, address, route and path with its verdict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from labrun.inventory.model import Lab
from labrun.outcome import HYPERVISOR, Fault, Outcome, Status
from labrun.tasks.collect.borrowed import on_borrowed_time
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.from_inside import marked_out_of_band
from labrun.tasks.collect.judge import judge
from labrun.tasks.drift.host_rows import host_rows, silent_rows
from labrun.tasks.drift.lab_rows import lab_rows
from labrun.tasks.drift.network_rows import with_verdicts
from labrun.tasks.judging import guarded
from labrun.tasks.provision.planning import LabPlan
from labrun.tasks.state.sections import ADDRESS, MACHINE

__all__ = ["Seen", "drift_rows"]


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was read about a lab.

    ``specs`` are the hosts' specs of ``configure``, ``captures`` the hosts' reports, ``plan`` libvirt's
    state (None for a lab without a hypervisor), ``made`` the hosts that labrun is known to have made,
    ``strange_keys`` the hosts that presented a wrong host key, with the error.
    """

    specs: Mapping[str, Mapping[str, Any]]
    captures: Mapping[str, Capture | Unreachable]
    plan: LabPlan | None
    made: Collection[str] = ()
    strange_keys: Mapping[str, str] | None = None


def drift_rows(lab: Lab, seen: Seen, hosts: Sequence[str]) -> list[Outcome]:
    """Return the rows of the named hosts, preceded by those of their networks."""
    lab_side = list(lab_rows(seen.plan, lab.digest, seen.made)) if seen.plan is not None else []
    unmade = {row.host for row in lab_side if row.section == MACHINE.name and row.status is Status.PENDING}
    unmade = {host for host in unmade if not isinstance(seen.captures.get(host), Capture)}
    settings = {host: list(_settings(host, seen, unmade)) for host in lab.hosts}
    network_side = list(
        with_verdicts(lab, judge(lab, seen.captures, hosts, settings=False), settings, unmade)
    )
    used = {nic.network for host in hosts for nic in lab.hosts[host].interfaces}
    everything = len(hosts) == len(lab.hosts)
    rows = [
        row
        for row in lab_side
        if row.host == HYPERVISOR and (everything or row.name.partition(" on ")[0] in used)
    ]
    machine_of, network_of = _by_host(lab_side), _by_host(network_side)
    for host in hosts:
        rows += machine_of.get(host, ())
        rows += _host_key(host, seen)
        rows += settings[host]
        rows += [row for row in network_of.get(host, ()) if not _says_nothing(row)]
    return marked_out_of_band(on_borrowed_time(rows, seen.captures), seen.captures)


def _by_host(rows: Iterable[Outcome]) -> Mapping[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for row in rows:
        found.setdefault(row.host, []).append(row)
    return found


def _settings(host: str, seen: Seen, unmade: Collection[str]) -> Iterator[Outcome]:
    capture = seen.captures.get(host)
    spec = seen.specs[host]
    if isinstance(capture, Capture):
        yield from guarded(
            host,
            lambda: host_rows(spec, capture.facts),
            lambda why: silent_rows(spec, Status.UNKNOWN, why),
        )
    elif host in unmade:
        why = "the machine does not exist yet"
        for row in silent_rows(spec, Status.PENDING, why):
            yield replace(row, fault=Fault(host, why, MACHINE.name, host))
    elif capture is not None:
        for row in silent_rows(spec, capture.status, capture.reason):
            yield replace(row, fault=capture.fault(host))


def _host_key(host: str, seen: Seen) -> Iterator[Outcome]:
    why = (seen.strange_keys or {}).get(host)
    if why is not None:
        why += "; nothing was read over this connection"
        yield Outcome(host, MACHINE.name, "ssh-host-key", Status.DRIFTED, "as on record", "another", why)


def _says_nothing(row: Outcome) -> bool:
    return row.status is Status.SKIPPED and row.section == ADDRESS.name and row.name == row.host
