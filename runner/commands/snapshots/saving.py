"""Save the machines of a lab into a folder: as a snapshot, or as what a fork starts from."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from labrun.errors import HypervisorError, LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.engine.hypervisor_engine import hypervisor_engine
from labrun.runner.engine.session import Session
from labrun.state_members import NotedMember, note_members, noted_members
from labrun.tasks.provision.snapshot_store import (
    FAULT,
    SNAPSHOTS,
    KeptMachine,
    Snapshot,
    Store,
    finish_snapshot,
    newest,
)
from labrun.tasks.snapshots.keeper import MachineFolder
from labrun.tasks.snapshots.places import begin_far, finish_far, remove_far

if TYPE_CHECKING:
    from labrun.tasks.provision.planning import SeenMachine

__all__ = ["Saved", "folder_of", "save_lab", "skipped"]


_NOT_KEPT = "nothing is kept: others could not be saved"


class Saved(NamedTuple):
    """The rows of what was saved, and how many seconds the machines stood still for it."""

    rows: list[Outcome]
    paused: float


def save_lab(session: Session, name: str, store: Store = SNAPSHOTS) -> Saved:
    """Save the lab's machines as the copy ``name`` in a store, with the lab's lock held.

    If one of them fails, or its hypervisor does not answer, there is no such copy.
    """
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.snapshots.task import save_machine, still

    lab, lost = session.lab, session.lost()
    if lost:
        return Saved([_silent(host.name, lost) for host in lab.hosts.values() if host.machine is not None], 0)
    seen = session.machines()
    wanted = [host.name for host in lab.hosts.values() if host.machine is not None]
    there = [host for host in wanted if host in seen]
    if not there:
        raise LabrunError("the lab has no machines yet", step="snapshot", hint="`labrun up` makes them")
    earlier = newest(lab.name)
    part = store.begin(lab.name, name)
    machines = {host: _kept(session, seen[host]) for host in there}
    snapshot = Snapshot(lab.name, name, _now(), store.folder(lab.name) / name, machines)
    folders = {
        host: replace(
            folder_of(snapshot, host),
            folder=part / host,
            earlier=earlier.of(host) if earlier is not None and _is_same(earlier, host, seen[host]) else None,
        )
        for host in there
    }
    data = {host: {"snapshot": folder} for host, folder in folders.items()}
    far = frozenset(snapshot.far.values())
    is_kept = False
    try:
        _begin_elsewhere(session, far, part, snapshot.folder)
        with (
            hypervisor_engine(session.uri, data, until="been saved") as nornir,
            still([*folders.values()]) as pause,
        ):
            rows = outcomes_of(nornir.run(save_machine), "snapshot")
        if any(row.exit_code for row in rows):
            rows = [_not_kept(row) if row.status is Status.CHANGED else row for row in rows]
        else:
            if session.state.fault.exists():
                shutil.copy2(session.state.fault, part / FAULT)
            for uri in far:
                finish_far(uri, part, snapshot.folder)
            finish_snapshot(part, snapshot)
            is_kept = True
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for uri in () if is_kept else far:
            with suppress(HypervisorError):
                remove_far(uri, part)
    absent = session.absent(seen)
    rows += [skipped(host, absent[host]) for host in wanted if host not in seen]
    return Saved(rows, pause.seconds)


def _is_same(earlier: Snapshot, host: str, seen: SeenMachine) -> bool:
    """Tell whether a snapshot has a machine itself, not one of another hypervisor by the same name."""
    kept = earlier.machines.get(host)
    return kept is not None and kept.uri == seen.uri


def _begin_elsewhere(session: Session, uris: Collection[str], part: Path, folder: Path) -> None:
    """Make the folders of a snapshot on other machines, and note for `down` that they have files of it."""
    if not uris:
        return
    if session.span is None:
        note_members(session.state, {"": NotedMember(session.uri, (), copies=True)})
    noted = noted_members(session.state)
    note_members(
        session.state,
        {name: replace(each, copies=each.copies or each.uri in uris) for name, each in noted.items()},
    )
    for uri in uris:
        begin_far(uri, part, folder)


def _silent(host: str, lost: Mapping[str, str]) -> Outcome:
    if host in lost:
        return Outcome(host, "snapshot", host, Status.UNKNOWN, why=lost[host])
    return skipped(host, _NOT_KEPT)


def _not_kept(row: Outcome) -> Outcome:
    return replace(row, status=Status.SKIPPED, actual=None, why=_NOT_KEPT)


def _kept(session: Session, seen: SeenMachine) -> KeptMachine:
    from labrun.tasks.provision.overlay import Overlay

    machine = seen.machine
    extra: Mapping[str, str] = machine.tag.extra if machine.tag is not None else {}
    if seen.kind == "lxc":
        overlay = Overlay.of(session.lab.name, machine.host, seen.uri)
        base = str(overlay.lower)
    else:
        base = extra.get("image-volume", "")
    return KeptMachine(
        seen.kind,
        seen.uri,
        machine.full_name,
        machine.state,
        extra.get("image", ""),
        base,
        dict(machine.defined),
        tuple(session.state.host_addresses().get(machine.host, ())),
        session.state.host_keys().get(machine.host, ""),
    )


def folder_of(snapshot: Snapshot, host: str) -> MachineFolder:
    """Return what a keeper is given to work on a host of a snapshot."""
    kept = snapshot.machines[host]
    return MachineFolder(
        kept.kind, kept.uri, snapshot.lab, host, kept.domain, kept.state, snapshot.of(host), kept.base
    )


def skipped(host: str, why: str) -> Outcome:
    """Return the row of a machine that was left as it is."""
    return Outcome(host, "snapshot", host, Status.SKIPPED, why=why)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
