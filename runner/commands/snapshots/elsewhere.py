"""The files that snapshots have on other machines: how large they are, and their removal."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.errors import HypervisorError
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.engine.by_hypervisor import reason_of
from labrun.runner.engine.session import Session
from labrun.tasks.provision.snapshot_store import Snapshot
from labrun.tasks.snapshots.places import remove_far, size_far

__all__ = ["remove_elsewhere", "size_elsewhere"]


def size_elsewhere(session: Session, snapshot: Snapshot) -> tuple[int, list[Outcome]]:
    """Return the bytes that a snapshot takes on other machines, and a row for each that does not say."""
    size, rows = 0, []
    for name, uri, why in _places(session, snapshot):
        try:
            if why:
                raise HypervisorError(why)
            size += size_far(uri, snapshot.folder)
        except HypervisorError as error:
            rows.append(_unknown(snapshot, name, f"the size of its files there: {reason_of(error)}"))
    return size, rows


def remove_elsewhere(session: Session, snapshot: Snapshot) -> list[Outcome]:
    """Remove the files of a snapshot from other machines; return a row for each that does not answer.

    Then nothing is removed from any, so that the snapshot is still known. Raises HypervisorError.
    """
    places = list(_places(session, snapshot))
    silent = [
        _unknown(snapshot, name, f"nothing is removed, since files of it stay there: {why}")
        for name, _, why in places
        if why
    ]
    for _, uri, _ in () if silent else places:
        remove_far(uri, snapshot.folder)
    return silent


def _places(session: Session, snapshot: Snapshot) -> Iterator[tuple[str, str, str]]:
    """Yield the name and URI of each other machine with files of a snapshot; and why it is silent, or ''."""
    span = session.span
    for uri in dict.fromkeys(snapshot.far.values()):
        named = session.lab.hypervisors.items()
        name = next((name for name, each in named if each.uri == uri), uri)
        gone = span.gone.get(name) if span is not None else None
        yield name, uri, f"{name} does not answer: {gone.reason}" if gone is not None else ""


def _unknown(snapshot: Snapshot, name: str, why: str) -> Outcome:
    return Outcome(HYPERVISOR, "snapshot", f"{snapshot.name} on {name}", Status.UNKNOWN, why=why)
