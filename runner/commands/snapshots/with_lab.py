"""The end of a lab's snapshots, which go with the lab."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from labrun.errors import HypervisorError
from labrun.hypervisor import is_local
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.state import LabState
from labrun.state_members import noted_members
from labrun.tasks.provision.snapshot_store import SNAPSHOTS, Snapshot, remove_snapshot
from labrun.tasks.snapshots.places import remove_far

__all__ = ["remove_spread", "remove_with_lab", "without_copies"]


def remove_with_lab(lab: str, uri: str, snapshots: Sequence[Snapshot], state: LabState) -> list[Outcome]:
    """Remove these snapshots of a lab on one hypervisor, and what killed runs have left of others there.

    Return their rows. Raises LabrunError.
    """
    if not is_local(uri):
        noted = noted_members(state).get("")
        if not snapshots and not (noted is not None and noted.copies):
            return []
        if failed := without_copies(lab, uri):
            return failed
    return _removed(lab, snapshots)


def remove_spread(lab: str, uris: Collection[str]) -> list[Outcome]:
    """Remove the lists of snapshots whose files were on several of these hypervisors. Return their rows."""
    return _removed(
        lab,
        [
            each
            for each in SNAPSHOTS.of(lab)
            if all(kept.uri in uris or is_local(kept.uri) for kept in each.machines.values())
        ],
    )


def without_copies(lab: str, uri: str) -> list[Outcome]:
    """Remove the files of the lab's snapshots on another machine. Return a row if that fails."""
    try:
        remove_far(uri, SNAPSHOTS.folder(lab))
    except HypervisorError as error:
        why = f"files of snapshots stay: {error.reason}"
        row = Outcome(HYPERVISOR, "snapshot", "files", Status.FAILED, "absent", why=why)
        return [replace(row, hypervisor_fault=True)]
    return []


def _removed(lab: str, snapshots: Sequence[Snapshot]) -> list[Outcome]:
    if tuple(snapshots) != SNAPSHOTS.of(lab):
        # Others are of a lab of the same name elsewhere.
        for each in snapshots:
            remove_snapshot(each)
    elif SNAPSHOTS.folder(lab).exists():
        SNAPSHOTS.remove_lab(lab)
    return [
        Outcome(HYPERVISOR, "snapshot", each.name, Status.CHANGED, "absent", "removed") for each in snapshots
    ]
