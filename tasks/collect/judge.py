"""What verify says: every expected thing of every host as one row, from what all hosts showed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from labrun.inventory.expectations import expectations
from labrun.inventory.model import Lab
from labrun.inventory.routing import route_table
from labrun.outcome import Outcome, Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.causes import Shown, not_asked
from labrun.tasks.collect.check_judge import check_rows
from labrun.tasks.collect.existing import with_seen_macs
from labrun.tasks.collect.links import (
    address_rows,
    expected_addresses,
    expected_route,
    route_name,
    route_rows,
)
from labrun.tasks.collect.schedule import SETTINGS
from labrun.tasks.collect.traces import path_rows
from labrun.tasks.configure.plan import Item
from labrun.tasks.configure.resources import plan_section
from labrun.tasks.configure.shell import Facts

__all__ = ["judge"]


def judge(
    lab: Lab,
    captures: Mapping[str, Capture | Unreachable],
    hosts: Sequence[str] | None = None,
    *,
    settings: bool = True,
) -> list[Outcome]:
    """Return the rows of the named hosts (None = all), in file order: addresses, routes, paths, settings.

    ``captures`` should hold all hosts that were asked, also those beyond ``hosts``: what is wrong
    on one is why another fails. A named host without capture has its rows as ``unknown``. Without
    ``settings`` the rows of kernel and sshd are left out.
    """
    lab = with_seen_macs(lab, captures)
    shown = Shown(lab, captures)
    found = expectations(lab)
    rows: list[Outcome] = []
    for host in lab.hosts:
        if hosts is not None and host not in hosts:
            continue
        capture, before = shown.capture(host), len(rows)
        if capture is None:
            silence = shown.silence(host) or not_asked(host)
            rows.extend(_silent(lab, host, silence, ("address", "route")))
            rows.extend(path_rows(shown, found, host))
            rows.extend(_silent(lab, host, silence, ("sysctl", "sshd") if settings else ()))
        else:
            rows.extend(address_rows(lab, host, capture))
            rows.extend(route_rows(lab, host, capture))
            rows.extend(path_rows(shown, found, host))
            rows.extend(_settings(lab, host, capture) if settings else ())
        rows.extend(check_rows(shown, found, host))
        if len(rows) == before:
            rows.append(_nothing(host, shown.silence(host)))
    return rows


def _nothing(host: str, silence: Unreachable | None) -> Outcome:
    """Return the row of a host of which the file says nothing that could be verified."""
    if silence is not None:
        return Outcome(host, "address", host, silence.status, why=silence.reason)
    return Outcome(host, "address", host, Status.SKIPPED, why="the file says nothing to verify here")


def _settings(lab: Lab, host: str, capture: Capture) -> Iterator[Outcome]:
    for resource in SETTINGS:
        want = resource.desired(lab, lab.hosts[host])
        if want is not None:
            for item in plan_section(resource, want, capture.facts).items:
                yield Outcome(host, resource.section, item.name, *_verdict(item))


def _verdict(item: Item) -> tuple[Status, str, str, str | None]:
    # A value that holds without being in labrun's own file is for configure and drift to say.
    holds = item.state == "ok" or (item.state == "change" and item.expected == item.actual)
    status = Status.SKIPPED if item.state == "skipped" else Status.OK if holds else Status.FAILED
    return status, item.expected, item.actual, None if holds else item.why


def _silent(lab: Lab, host: str, silence: Unreachable, sections: Sequence[str]) -> Iterator[Outcome]:
    """Yield what was expected of a host that showed nothing: no host and no row is ever missing."""
    for section in sections:
        for name, expected in _expected(lab, host, section):
            yield Outcome(host, section, name, silence.status, expected, None, silence.reason)


def _expected(lab: Lab, host: str, section: str) -> Iterator[tuple[str, str]]:
    if section == "address":
        yield from ((nic.network, expected_addresses(nic)) for nic in lab.hosts[host].interfaces)
    elif section == "route":
        yield from ((route_name(route.prefix), expected_route(route)) for route in route_table(lab, host))
    else:
        resource = next(each for each in SETTINGS if each.section == section)
        want = resource.desired(lab, lab.hosts[host])
        if want is not None:
            # Nothing was observed: the items' names and expected values come from the lab file alone.
            yield from ((item.name, item.expected) for item in plan_section(resource, want, Facts()).items)
