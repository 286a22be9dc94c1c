"""The rows of verify: everything expected of every host, judged by the reports of all hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from labrun.inventory.model import Lab
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.targets import targets_of
from labrun.outcome import Nic, Outcome, Status, Subject
from labrun.tasks.collect.borrowed import on_borrowed_time
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.causes import Shown, not_asked
from labrun.tasks.collect.check_judge import check_rows
from labrun.tasks.collect.durations import with_durations
from labrun.tasks.collect.from_inside import marked_out_of_band
from labrun.tasks.collect.links import address_rows, expected_addresses
from labrun.tasks.collect.route_rows import expected_routes, route_rows
from labrun.tasks.collect.schedule import SETTINGS
from labrun.tasks.collect.traces import path_rows
from labrun.tasks.collect.unmanaged import with_own_devices, with_seen_macs
from labrun.tasks.configure.plan import Resource
from labrun.tasks.configure.resources import plan_section
from labrun.tasks.guest.shell import Facts
from labrun.tasks.judging import guarded
from labrun.tasks.state.item import Item
from labrun.tasks.state.sections import ADDRESS, ROUTE

__all__ = ["judge"]


def judge(
    lab: Lab,
    captures: Mapping[str, Capture | Unreachable],
    hosts: Sequence[str] | None = None,
    *,
    settings: bool = True,
    full: bool = False,
) -> list[Outcome]:
    """Return the rows of the named hosts (None = all), in file order: addresses, routes, paths, settings.

    ``captures`` should hold all hosts that were queried, also those beyond ``hosts``: a fault on one
    makes another fail. A named host without a capture gets ``unknown`` rows. Without ``settings`` the
    rows of kernel and sshd are left out. ``full`` has a row for every pair, also in a large lab.
    """
    captures = with_own_devices(lab, captures)
    lab = with_seen_macs(lab, captures)
    shown = Shown(lab, captures)
    implied = expectations(lab)
    rows: list[Outcome] = []
    chosen = lab.hosts.keys() if hosts is None else frozenset(hosts)
    for host in lab.hosts:
        if host not in chosen:
            continue
        before = len(rows)
        rows.extend(_section(shown, host, ADDRESS.name))
        rows.extend(_section(shown, host, ROUTE.name))
        rows.extend(path_rows(shown, implied, host, targets_of(lab, host, full=full)))
        for resource in SETTINGS if settings else ():
            rows.extend(_section(shown, host, resource.section))
        rows.extend(check_rows(shown, implied, host))
        if len(rows) == before:
            rows.append(_nothing(host, shown.silence(host)))
        if (capture := shown.capture(host)) is not None:
            rows[before:] = with_durations(rows[before:], capture.durations)
        if isinstance(silent := captures.get(host), Unreachable):
            fault = silent.fault(host)
            rows[before:] = [replace(row, fault=fault) for row in rows[before:]]
    return marked_out_of_band(on_borrowed_time(rows, captures), captures) if settings else rows


def _nothing(host: str, silence: Unreachable | None) -> Outcome:
    """Return the row of a host for which the file declares nothing to verify."""
    if silence is not None:
        return Outcome(host, ADDRESS.name, host, silence.status, why=silence.reason)
    return Outcome(
        host, ADDRESS.name, host, Status.SKIPPED, why="the lab file declares nothing to verify here"
    )


def _section(shown: Shown, host: str, section: str) -> list[Outcome]:
    """Return the rows of one section that the host's report alone decides."""
    capture = shown.capture(host)
    if capture is None:
        silence = shown.silence(host) or not_asked(host)
        return list(_silent(shown.lab, host, silence, section))
    return guarded(
        host,
        lambda: _JUDGES[section](shown.lab, host, capture),
        lambda why: _silent(shown.lab, host, Unreachable(why, Status.UNKNOWN), section),
    )


def _settings(lab: Lab, host: str, capture: Capture, resource: Resource) -> Iterator[Outcome]:
    want = resource.desired(lab, lab.hosts[host])
    if want is not None:
        for item in plan_section(resource, want, capture.facts).items:
            yield Outcome(host, resource.section, item.name, *_verdict(item), by_hand=item.by_hand)


_JUDGES: Mapping[str, Callable[[Lab, str, Capture], Iterator[Outcome]]] = {
    ADDRESS.name: address_rows,
    ROUTE.name: route_rows,
    **{resource.section: partial(_settings, resource=resource) for resource in SETTINGS},
}


def _verdict(item: Item) -> tuple[Status, str, str, str | None]:
    # A value that is right but missing from labrun's file, or that labrun cannot write there, is a matter for
    # configure and drift.
    same = item.expected == item.actual and bool(item.actual)
    holds = item.state == "ok" or (item.state in ("change", "refused") and same)
    status = Status.SKIPPED if item.state == "skipped" else Status.OK if holds else Status.FAILED
    return status, item.expected, item.actual, None if holds else item.why


def _silent(lab: Lab, host: str, silence: Unreachable, section: str) -> Iterator[Outcome]:
    """Yield the expected rows of a host that reported nothing, so that no host and no row is missing."""
    for name, expected, subject in _expected(lab, host, section):
        yield Outcome(host, section, name, silence.status, expected, None, silence.reason, subject=subject)


def _expected(lab: Lab, host: str, section: str) -> Iterator[tuple[str, str, Subject | None]]:
    if section == ADDRESS.name:
        for nic in lab.hosts[host].interfaces:
            yield nic.name, expected_addresses(nic), Nic(host, nic.name)
    elif section == ROUTE.name:
        for name, expected in expected_routes(lab, host):
            yield name, expected, None
    else:
        resource = next(candidate for candidate in SETTINGS if candidate.section == section)
        want = resource.desired(lab, lab.hosts[host])
        if want is not None:
            # Nothing was observed: the items' names and expected values come from the lab file alone.
            for item in plan_section(resource, want, Facts()).items:
                yield item.name, item.expected, None
