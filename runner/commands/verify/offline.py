"""`labrun verify --offline`: the expected observations, from the lab file alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from labrun.inventory.model import Lab
from labrun.inventory.topology.expectations import Expectations, expectations
from labrun.outcome import Outcome, Pair, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import select_hosts
from labrun.tasks.collect.capture import Unreachable
from labrun.tasks.collect.forward_judge import expected_forwards, untried_forward
from labrun.tasks.collect.judge import judge
from labrun.tasks.collect.nic_causes import Shown
from labrun.tasks.collect.traces import path_rows
from labrun.tasks.state.sections import PATH, section_of

__all__ = ["OFFLINE", "offline_pair", "offline_report", "offline_rows", "offline_text"]

OFFLINE = "offline"


def offline_report(lab: Lab, invocation: Invocation) -> Report:
    """Return the expectations for the selected hosts, without contacting hypervisor or hosts."""
    rows = offline_rows(lab, select_hosts(lab, invocation.hosts))
    return Report(lab.name, rows, text=offline_text(rows, every_row=invocation.verbosity > 0))


def offline_rows(lab: Lab, hosts: Sequence[str] | None = None) -> list[Outcome]:
    """Return all rows of `verify`, each ``skipped``, with the expected value."""
    silent = {host: Unreachable(OFFLINE, Status.SKIPPED) for host in lab.hosts}
    expected = expectations(lab)
    rows = [_with_fault(expected, row) for row in judge(lab, silent, hosts)]
    return [*rows, *(untried_forward(trial, OFFLINE) for trial in expected_forwards(lab, hosts))]


def offline_pair(lab: Lab, source: str, target: str) -> list[Outcome]:
    """Return the rows of the paths from one host to another, as in :func:`offline_rows`."""
    expected = expectations(lab)
    shown = Shown(lab, {source: Unreachable(OFFLINE, Status.SKIPPED)})
    return [_with_fault(expected, row) for row in path_rows(shown, expected, source, [target])]


def _with_fault(expected: Expectations, row: Outcome) -> Outcome:
    pair = row.subject
    if (
        row.section != PATH.name
        or not (row.expected or "").startswith("unreachable")
        or not isinstance(pair, Pair)
    ):
        return row
    path = expected.path(pair.source, pair.target, pair.family)
    return replace(row, why=f"{OFFLINE}; {path.fault}")


def offline_text(rows: Sequence[Outcome], *, every_row: bool = False) -> str:
    """Return the rows for the screen: settings are only counted, unless ``every_row`` is wanted."""
    by_host: dict[str, list[Outcome]] = {}
    for row in rows:
        by_host.setdefault(row.host, []).append(row)
    return "\n".join("".join(_host(host, own, every_row)) for host, own in by_host.items())


def _host(host: str, rows: Sequence[Outcome], every_row: bool) -> Iterator[str]:
    listed = [row for row in rows if every_row or not section_of(row.section).verified]
    names = [f"{row.section} {row.short_name}" for row in listed]
    width = max(map(len, names), default=0)
    yield f"{host}\n"
    for name, row in zip(names, listed, strict=True):
        fault = (row.why or "").removeprefix(OFFLINE).removeprefix("; ")
        yield f"  {name:{width}}  {row.expected or '-'}{f' ({fault})' if fault else ''}\n"
    hidden = Counter(row.section for row in rows) - Counter(row.section for row in listed)
    for section, count in hidden.items():
        yield f"  {section}: {count} setting{'s' if count != 1 else ''}, shown with -v\n"
