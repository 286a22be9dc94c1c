"""The network's state as rows: those of verify, with a verdict in place of ``failed``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from labrun.inventory.model import Lab
from labrun.inventory.topology.expectations import Expectations, expectations
from labrun.outcome import Nic, Outcome, Pair, Status
from labrun.tasks.state.sections import NMCLI, section_of

__all__ = ["with_verdicts"]


def with_verdicts(
    lab: Lab, rows: Iterable[Outcome], settings: Mapping[str, Sequence[Outcome]], unmade: Iterable[str]
) -> Iterator[Outcome]:
    """Yield verify's rows, failed ones as ``drifted`` or, if the file has changed, as ``pending``.

    ``settings`` are the rows of the hosts' configuration; a row is ``pending`` if a setting it follows
    from is pending on the hosts concerned, and nothing there has drifted. ``unmade`` hosts exist only
    in the file, so they are unreachable.
    """
    missing = frozenset(unmade)
    expected = expectations(lab)
    for row in rows:
        if row.status is Status.FAILED:
            yield replace(row, status=_verdict(row, expected, settings))
        elif row.status is Status.UNKNOWN and row.due_to is Status.FAILED:
            # It says nothing because something else does not hold, and that has a verdict of its own.
            yield replace(row, due_to=_verdict(row, expected, settings))
        elif row.status is Status.UNREACHABLE and missing & set(_ends(row, expected)):
            yield replace(row, status=Status.PENDING)
        else:
            yield row


def _verdict(row: Outcome, expected: Expectations, settings: Mapping[str, Sequence[Outcome]]) -> Status:
    statuses = {
        setting.status
        for host in _concerned(row, expected)
        for setting in settings.get(host, ())
        if setting.section in section_of(row.section).follows
        if not isinstance(row.subject, Nic)
        or (setting.section, setting.name) == (NMCLI.name, row.subject.name)
    }
    if Status.PENDING in statuses and not statuses & {Status.DRIFTED, Status.CONFLICT}:
        return Status.PENDING
    return Status.DRIFTED


def _ends(row: Outcome, expected: Expectations) -> tuple[str, ...]:
    """Return the hosts named by a row."""
    about = row.subject
    if isinstance(about, Pair) and about.target in expected.lab.hosts:
        return about.source, about.target
    return (row.host,)


def _concerned(row: Outcome, expected: Expectations) -> tuple[str, ...]:
    """Return the hosts that a row depends on: both ends, and the routers between them."""
    ends, about = _ends(row, expected), row.subject
    if not isinstance(about, Pair) or len(set(ends)) == 1:
        return ends
    round_trip = expected.path(about.source, about.target, about.family).way
    return (*ends, *round_trip.through, *round_trip.back)
