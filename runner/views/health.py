"""The health of hosts and links in a verify, computed from its rows, to colour a drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from labrun.inventory.drawing.diagram import Health, worst
from labrun.inventory.model import Interface, Lab
from labrun.inventory.topology.expectations import Expectations, expectations
from labrun.outcome import Nic, Outcome, Pair
from labrun.runner.views.matrix import path_of
from labrun.runner.views.status_look import look
from labrun.tasks.state.sections import Scope, section_of

__all__ = ["HealthOf", "health_of"]


@dataclass(frozen=True, slots=True)
class HealthOf:
    """Health by host, and by host and NIC."""

    hosts: dict[str, Health] = field(default_factory=dict)
    links: dict[tuple[str, str], Health] = field(default_factory=dict)

    def note_host(self, host: str, health: Health) -> None:
        """Lower a host's health to this, unless it is worse already."""
        self.hosts[host] = worst(self.hosts.get(host, Health.UNKNOWN), health)

    def note_link(self, link: tuple[str, str], health: Health) -> None:
        """Lower a link's health to this, unless it is worse already."""
        self.links[link] = worst(self.links.get(link, Health.UNKNOWN), health)


def health_of(lab: Lab, rows: Sequence[Outcome]) -> HealthOf:
    """Return the health of each host and link.

    A failing path makes the host in its reason red, and its source only impaired unless that is the same
    host. A link is impaired if no path over it succeeded.
    """
    result = HealthOf()
    for row in rows:
        if row.host not in lab.hosts:
            continue
        health = look(row.status).health
        if section_of(row.section).scope is Scope.PATH and health is not Health.OK:
            _blame(result, lab, row, health)
        else:
            result.note_host(row.host, health)
            if isinstance(row.subject, Nic) and lab.hosts[row.host].nic(row.subject.name) is not None:
                result.note_link((row.host, row.subject.name), health)
    for link in _never_crossed(lab, rows):
        result.note_link(link, Health.IMPAIRED)
    return result


def _blame(result: HealthOf, lab: Lab, row: Outcome, health: Health) -> None:
    if health is Health.FAILED:
        at_fault = row.blamed or row.host
        result.note_host(at_fault if at_fault in lab.hosts else row.host, Health.FAILED)
    if health is not Health.UNKNOWN:
        result.note_host(row.host, Health.IMPAIRED)


def _never_crossed(lab: Lab, rows: Sequence[Outcome]) -> set[tuple[str, str]]:
    """Return the links that paths should have used but none did."""
    expected = expectations(lab)
    good: set[tuple[str, str]] = set()
    bad: set[tuple[str, str]] = set()
    for row in rows:
        pair = path_of(row)
        if pair is not None and pair.source in lab.hosts and pair.target in lab.hosts:
            health = look(row.status).health
            if health is Health.OK:
                good.update(_crossed(expected, pair))
            elif health is Health.FAILED:
                bad.update(_crossed(expected, pair))
    return bad - good


def _crossed(expected: Expectations, pair: Pair) -> Iterator[tuple[str, str]]:
    path = expected.path(pair.source, pair.target, pair.family)
    if path.fault is not None:
        return
    nodes = (pair.source, *path.way.through, pair.target)
    for here, there in pairwise(nodes):
        ours, theirs = _nics(expected.lab, here), _nics(expected.lab, there)
        shared = [(own, other) for own in ours for other in theirs if own.network == other.network]
        # With two ways between two routers, the path does not tell which one it took.
        if len(shared) == 1:
            yield here, shared[0][0].name
            yield there, shared[0][1].name


def _nics(lab: Lab, node: str) -> tuple[Interface, ...]:
    host = lab.hosts.get(node)
    return host.interfaces if host is not None else ()
