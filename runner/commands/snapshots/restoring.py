"""Give the machines of a lab the state of a snapshot, and wait until they answer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.commands.snapshots.saving import folder_of
from labrun.runner.engine.hypervisor_engine import hypervisor_engine
from labrun.runner.engine.session import Session
from labrun.tasks.provision.planning import LabPlan
from labrun.tasks.provision.snapshot_store import FAULT, KeptMachine, Snapshot

if TYPE_CHECKING:
    from labrun.tasks.provision.planning import SeenMachine

__all__ = ["restore_lab", "silent_rows", "start_machines"]


def restore_lab(session: Session, snapshot: Snapshot, chosen: Sequence[str], *, wait: bool) -> list[Outcome]:
    """Restore the chosen hosts, with the lab's lock held. Return their rows.

    Nothing changes before the files of all of them are there.
    """
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.snapshots.task import put_machine_back, stage_machine, unstage_all

    seen = session.machines()
    for host in chosen:
        _refuse_other_kind(host, snapshot.machines[host], seen.get(host))
    folders = {host: folder_of(snapshot, host) for host in chosen}
    data = {host: {"snapshot": folder} for host, folder in folders.items()}
    with hypervisor_engine(session.uri, data, until="been restored") as nornir:
        rows = outcomes_of(nornir.run(stage_machine), "snapshot")
        if any(row.exit_code for row in rows):
            unstage_all([*folders.values()])
            return [_not_begun(row) if row.status is Status.CHANGED else row for row in rows]
        session.state.remember_host_keys(
            {
                host: (kept.addresses, kept.host_key)
                for host in chosen
                if (kept := snapshot.machines[host]).host_key
            }
        )
        rows = outcomes_of(nornir.run(put_machine_back), "snapshot")
    if len(chosen) == len(snapshot.machines) and not any(row.exit_code for row in rows):
        _restore_fault(session, snapshot)
    back = [row.host for row in rows if row.status is Status.CHANGED]
    paused = {row.host for row in rows if row.actual == "paused"}
    started = [host for host in back if snapshot.machines[host].state != "shut off" and host not in paused]
    return rows + (start_machines(session, started, wait=wait) if started else [])


def _restore_fault(session: Session, snapshot: Snapshot) -> None:
    """Record again the fault that was planted then, or that there was none."""
    record = snapshot.folder / FAULT
    if record.exists():
        shutil.copy2(record, session.state.fault)
    else:
        session.state.fault.unlink(missing_ok=True)


def start_machines(session: Session, hosts: Sequence[str], *, wait: bool) -> list[Outcome]:
    """Start machines as they are defined, and wait until they are ready, with the lab's lock held.

    Return their rows. What the file says otherwise of them waits for the next `up`.
    """
    from labrun.runner.commands.up import bring_up_machines, carry_out
    from labrun.tasks.provision.planning import plan_lab

    if session.span is not None:
        plans = (plan_lab(session.lab, each.uri, hosts, part=each.part) for each in session.members())
        started = tuple(item for plan in plans for item in _as_defined(plan).machines)
        plan = LabPlan(machines=started)
        return bring_up_machines(session, plan, set(), wait=wait, configures=False)
    plan = _as_defined(plan_lab(session.lab, session.uri, hosts))
    return carry_out(session, plan, {}, wait=wait)


def _as_defined(plan: LabPlan) -> LabPlan:
    """Return what is left of a plan if machines are only started, as they are."""
    machines = tuple(
        replace(item, plan=replace(item.plan, action="start" if item.plan.start else "none", kept=""))
        for item in plan.machines
        if item.seen is not None
    )
    return replace(plan, machines=machines, networks=(), filters=(), forwards=())


def _refuse_other_kind(host: str, kept: KeptMachine, seen: SeenMachine | None) -> None:
    if seen is not None and seen.kind != kept.kind:
        words = {"lxc": "a container", "qemu": "a VM"}
        raise LabrunError(
            f"it is {words[seen.kind]} now, and {words[kept.kind]} in the snapshot",
            host=host,
            step="snapshot",
            hint="`--hosts` restores the others",
        )


def silent_rows(session: Session, chosen: Sequence[str]) -> list[Outcome]:
    """Return the rows of the chosen hosts if the hypervisor of one does not answer, else none."""
    lost = session.lost()
    rows = [Outcome(host, "snapshot", host, Status.UNKNOWN, why=lost.get(host)) for host in chosen]
    return [row if row.why else _not_begun(row) for row in rows if lost.keys() & set(chosen)]


def _not_begun(row: Outcome) -> Outcome:
    return replace(row, status=Status.SKIPPED, actual="as before", why="others could not be restored")
