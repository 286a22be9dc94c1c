"""One screen of a command's rows, as values: what is wrong, hosts by section, and who reaches whom.

The terminal, the page, the job summary and the live screen are drawn from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.views.causes import Cause, causes
from labrun.runner.views.matrix import path_of
from labrun.runner.views.status_look import look
from labrun.tasks.state.sections import ADDRESS, ROUTE, Scope, section_of

__all__ = ["PLURALS", "WIDEST", "Cell", "Overview", "column_of", "overview"]

WIDEST = 16
"""Hosts; of more, only those that need attention are shown."""

_COLUMNS = ("machine", "address", "route", "path", "settings", "check")
PLURALS = {
    "machine": "machines",
    "address": "addresses",
    "route": "routes",
    "path": "paths",
    "check": "checks",
}
"""The columns in the plural; the others are spelled the same."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A host's rows of one column: how many, how many of them need attention, and the worst status."""

    total: int
    bad: int
    status: Status

    @property
    def text(self) -> str:
        """Return ``4``, ``2 of 4 x``, a sign alone for a single row, and ``-`` for what was not checked."""
        sign = look(self.status).sign
        if not self.bad:
            return sign if self.status is Status.SKIPPED else str(self.total)
        return sign if self.total == 1 else f"{self.bad} of {self.total} {sign}"


@dataclass(frozen=True, slots=True)
class Overview:
    """The content of one screen; ``cells`` are by host and column, ``pairs`` the worst status of each pair.

    ``columns`` are those that have any rows, ``hosts`` those that have any, the hypervisor last.
    """

    counts: Mapping[Status, int]
    columns: tuple[str, ...]
    hosts: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    pairs: Mapping[tuple[str, str], Status]
    causes: tuple[Cause, ...]

    @property
    def is_well(self) -> bool:
        """Return whether nothing needs attention."""
        return not self.causes

    def needs_attention(self, host: str) -> bool:
        """Return whether anything of a host does."""
        return any(cell.bad for (name, _), cell in self.cells.items() if name == host) or any(
            host in pair and not look(status).is_good for pair, status in self.pairs.items()
        )

    def breakdown(self) -> str:
        """Return what the rows are about: ``5 hosts: addresses 6, routes 12, paths 20``."""
        totals = Counter[str]()
        for (_, column), cell in self.cells.items():
            totals[column] += cell.total
        hosts = sum(host != HYPERVISOR for host in self.hosts)
        parts = [f"{PLURALS.get(column, column)} {totals[column]}" for column in self.columns]
        return f"{hosts} host{'' if hosts == 1 else 's'}: {', '.join(parts)}"


def overview(hosts: Sequence[str], rows: Sequence[Outcome], existing: Collection[str] = ()) -> Overview:
    """Return the screen of these rows; ``hosts`` are the lab's, in file order, ``existing`` as for causes."""
    statuses: dict[tuple[str, str], list[Status]] = {}
    pairs: dict[tuple[str, str], Status] = {}
    for row in rows:
        statuses.setdefault((row.host, column_of(row)), []).append(row.status)
        pair = path_of(row)
        if pair is not None:
            ends = pair.source, pair.target
            pairs[ends] = _worst([row.status, *([pairs[ends]] if ends in pairs else [])])
    there = {host for host, _ in statuses}
    named = [host for host in hosts if host in there]
    present = {column for _, column in statuses}
    return Overview(
        Counter(row.status for row in rows),
        (*(each for each in _COLUMNS if each in present), *sorted(present.difference(_COLUMNS))),
        (*named, *sorted(there.difference(named))),
        {key: _cell(each) for key, each in statuses.items()},
        pairs,
        tuple(causes(rows, existing)),
    )


def column_of(row: Outcome) -> str:
    """Return the column of a row: its section, or one for all settings and one for libvirt's objects."""
    section = section_of(row.section)
    if section.scope is Scope.LAB:
        return "machine"
    if section.scope is Scope.HOST and section.name not in (ADDRESS.name, ROUTE.name):
        return "settings"
    return section.name


def _cell(statuses: Sequence[Status]) -> Cell:
    bad = sum(not look(status).is_good for status in statuses)
    worst = _worst(statuses)
    if not bad and any(status is not Status.SKIPPED for status in statuses):
        worst = Status.OK
    return Cell(len(statuses), bad, worst)


def _worst(statuses: Sequence[Status]) -> Status:
    return min(statuses, key=lambda status: look(status).rank)
