"""The command group `labrun snapshot`."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labrun.errors import UsageError
from labrun.moments import told
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import printable
from labrun.runner.commands.completions import complete_snapshot
from labrun.runner.commands.snapshots.elsewhere import remove_elsewhere, size_elsewhere
from labrun.runner.commands.snapshots.restoring import restore_lab, silent_rows
from labrun.runner.commands.snapshots.saving import save_lab, skipped
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import Session, open_session
from labrun.runner.engine.unmanaged import existing_rows
from labrun.runner.verb import VerbGroup, verb
from labrun.runner.views.columns import listing
from labrun.tasks.provision.snapshot_store import SNAPSHOTS, Snapshot, remove_snapshot, snapshots_on
from labrun.tasks.snapshots.keeper import require_files

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

command = VerbGroup("snapshot", "Save, restore and compare the state of all machines of the lab.")


@verb("save", group=command, recorded=True)
@click.argument("name")
def save(invocation: Invocation, name: str) -> Report:
    """Save the disks of all machines, all at the same moment.

    For running VMs, their memory too. All machines pause meanwhile; those that are off are saved as off.
    """
    SNAPSHOTS.check_name(name)
    if invocation.hosts is not None:
        raise UsageError("a snapshot is of the whole lab", step="--hosts", hint="`restore` takes --hosts")
    session = _opened(invocation)
    with lab_lock(session.state.lock, "snapshot save"), progress(session.hosts, invocation):
        rows, paused = save_lab(session, name)
    notes = [f"the machines stood still for {paused:.2f} s"] if paused else []
    rows += existing_rows(session.lab, session.hosts)
    return Report(session.lab.name, rows, notes=notes, extra={"paused_seconds": round(paused, 3)})


@verb("restore", group=command, recorded=True)
@click.argument("name", shell_complete=complete_snapshot)
@click.option("--no-wait", is_flag=True, help="Do not wait until the machines are ready.")
def restore(invocation: Invocation, name: str, no_wait: bool) -> Report:
    """Restore the machines to the state of a snapshot.

    VMs that were running continue where they were; containers boot. The current state is lost. Asks first,
    unless -y is given.
    """
    session = _opened(invocation)
    snapshot = _found(session, name)
    chosen = [host for host in session.hosts if host in snapshot.machines]
    if not chosen:
        raise UsageError(f'the snapshot "{name}" has none of these hosts', step="--hosts")
    if silent := silent_rows(session, chosen):
        return Report(session.lab.name, silent)
    confirm(invocation, "Replace these?", [f"machine {host} (its disk with it)" for host in chosen])
    with lab_lock(session.state.lock, "snapshot restore"), progress(session.hosts, invocation):
        rows = restore_lab(session, snapshot, chosen, wait=not no_wait)
    missing = [
        host
        for host in session.hosts
        if host not in snapshot.machines and session.lab.hosts[host].machine is not None
    ]
    rows += [skipped(host, "it is not in the snapshot: left as it is") for host in missing]
    gone = [host for host in snapshot.machines if host not in session.lab.hosts]
    notes = [f"{', '.join(gone)}: in the snapshot, but no longer in the lab file"] if gone else []
    return Report(session.lab.name, rows + existing_rows(session.lab, session.hosts), notes=notes)


@verb("diff", group=command)
@click.argument("name", shell_complete=complete_snapshot)
def diff(invocation: Invocation, name: str) -> Report:
    """Show what has changed on the machines since a snapshot.

    For containers, these are files other than logs and caches; text that every user of the host may read is
    shown line by line.
    """
    from labrun.runner.commands.snapshots.compare import compare_lab

    session = _opened(invocation)
    rows = compare_lab(session, _found(session, name))
    return Report(session.lab.name, rows, diff=True)


@verb("list", group=command)
def list_command(invocation: Invocation) -> Report:
    """List the lab's snapshots, oldest first."""
    session = _opened(invocation)
    snapshots = _all(session)
    members: list[JsonObject] = []
    lines = []
    rows: list[Outcome] = []
    for each in snapshots:
        far, silent = size_elsewhere(session, each)
        rows += silent
        size, states = _size(each) + far, [kept.state for kept in each.machines.values()]
        members.append(
            {
                "name": each.name,
                "made": each.made,
                "bytes": size,
                "memory": each.has_memory,
                "machines": {host: kept.state for host, kept in each.machines.items()},
            }
        )
        running = sum(state != "shut off" for state in states)
        moment = _made(each)
        with_memory = "yes" if each.has_memory else "no"
        lines.append(
            (each.name, moment, str(len(states)), str(running), with_memory, f"{size / 2**20:.0f} MiB")
        )
    columns = ("snapshot", "made", "machines", "running", "memory", "own size")
    text = listing(columns, lines, color=invocation.color) if lines else "no snapshots\n"
    text += "".join(f"{printable(f'{row.name}: unknown: {row.why}')}\n" for row in rows)
    extra: JsonObject = {"snapshots": members}
    return Report(session.lab.name, rows, extra=extra, text=None if invocation.json else text)


@verb("remove", group=command, recorded=True)
@click.argument("name", shell_complete=complete_snapshot)
def remove(invocation: Invocation, name: str) -> Report:
    """Remove a snapshot. Asks first, unless -y is given."""
    session = _opened(invocation)
    snapshot = _found(session, name)
    confirm(invocation, "Remove this?", [f"snapshot {name}, of {_made(snapshot)}"])
    with lab_lock(session.state.lock, "snapshot remove"):
        if silent := remove_elsewhere(session, snapshot):
            return Report(session.lab.name, silent)
        remove_snapshot(snapshot)
    return Report(session.lab.name, [snapshot_row(name, Status.CHANGED, "removed", expected="absent")])


def snapshot_row(name: str, status: Status, actual: str, *, expected: str) -> Outcome:
    """Return the row of a snapshot as a whole."""
    return Outcome(HYPERVISOR, "snapshot", name, status, expected, actual)


def _opened(invocation: Invocation) -> Session:
    session = open_session(invocation)
    require_files(session.uri, several=session.span is not None)
    return session


def _all(session: Session) -> tuple[Snapshot, ...]:
    if session.span is not None:
        return SNAPSHOTS.of(session.lab.name)
    return snapshots_on(session.lab.name, session.uri)


def _found(session: Session, name: str) -> Snapshot:
    """Return a snapshot of the lab. Raises UsageError for one of a lab of the same name elsewhere."""
    snapshot = SNAPSHOTS.find(session.lab.name, name)
    if snapshot not in _all(session):
        there = ", ".join(sorted({kept.uri for kept in snapshot.machines.values()}))
        raise UsageError(
            f'the snapshot "{name}" is of the lab {session.lab.name} on {there}',
            hint=f"this one is on {session.uri}",
        )
    return snapshot


def _made(snapshot: Snapshot) -> str:
    return told(datetime.fromisoformat(snapshot.made).timestamp())


def _size(snapshot: Snapshot) -> int:
    """Return the bytes that would be free without the snapshot."""
    total = 0
    for folder, _, files in os.walk(snapshot.folder):
        for name in files:
            seen = Path(folder, name).lstat()
            total += seen.st_blocks * 512 if seen.st_nlink == 1 else 0
    return total
