"""`labrun fork` and `labrun drop`: a copy of the running lab in namespaces of its own, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from labrun.errors import HypervisorError, LabrunError, UsageError
from labrun.hypervisor import is_local
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import lab_path
from labrun.runner.cli.options import complete_fork
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.commands.snapshots.saving import save_lab
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import Session, open_session
from labrun.runner.engine.unmanaged import existing_rows
from labrun.runner.verb import verb
from labrun.tasks.provision.snapshot_store import FORKS, Snapshot
from labrun.tasks.snapshots.keeper import require_local

_READY_SECONDS = 180.0
_MARGIN = 120.0
_KEEPS_VMS = "`labrun snapshot save NAME` keeps VMs too"


@verb("fork", recorded=True)
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Do not wait until the machines of the fork are ready.")
def fork(invocation: Invocation, name: str, no_wait: bool) -> Report:
    """Copy the running lab into a network of its own beside it, with the same addresses.

    `labrun -f NAME COMMAND` works there and does not touch the lab. `labrun drop NAME` removes
    it. Containers only.
    """
    FORKS.check_name(name)
    if invocation.hosts is not None:
        raise UsageError("a fork is of the whole lab", step="--hosts")
    if invocation.lab == "-":
        raise UsageError("a fork needs a lab file that -f can read again", step="--lab")
    session = open_session(invocation, single="fork")
    _refuse_far(session)
    require_local(session.uri, "a fork")
    with lab_lock(session.state.lock, "fork"), progress(session.hosts, invocation):
        rows = _fork(session, name, wait=not no_wait)
    rows += existing_rows(session.lab, session.hosts)
    bad = any(row.exit_code for row in rows)
    notes = [] if bad else [f"next: labrun -f {name} verify", f"the end: labrun drop {name}"]
    return Report(session.lab.name, rows, notes=notes)


def _fork(session: Session, name: str, *, wait: bool) -> list[Outcome]:
    from labrun.tasks.forks.contents import copy_networks, copy_state, lay_out
    from labrun.tasks.forks.namespace import drop, start_daemon

    _refuse_vms(session)
    rows = save_lab(session, name, FORKS).rows
    if any(row.exit_code for row in rows):
        return rows
    made = FORKS.find(session.lab.name, name)
    try:
        copy_networks(made, session.uri)
        copy_state(made, session.state.root)
        lay_out(made)
        start_daemon(made, session.uri)
        return _begun_inside(session, made, wait=wait)
    except BaseException:
        drop(made, session.uri)
        raise


def _refuse_far(session: Session) -> None:
    if session.uri.startswith("qemu") and not is_local(session.uri):
        raise HypervisorError(
            f"a fork has containers only, and {session.uri} has VMs of the lab alone",
            step="fork",
            hint=_KEEPS_VMS,
        )


def _refuse_vms(session: Session) -> None:
    vms = sorted(host for host, seen in session.machines().items() if seen.kind != "lxc")
    if vms:
        raise HypervisorError(
            f"a fork has containers only, and {', '.join(vms)} {'are VMs' if vms[1:] else 'is a VM'}",
            step="fork",
            hint=_KEEPS_VMS,
        )


def _begun_inside(session: Session, fork: Snapshot, *, wait: bool) -> list[Outcome]:
    """Start the fork's machines, in a process inside the fork. Return their rows."""
    invocation = session.invocation
    orders = {
        "lab": str(Path(lab_path(invocation.lab)).absolute()) if invocation.lab != "-" else "-",
        "allow_outside": invocation.allow_outside,
        "timeout": invocation.timeout,
        "workers": invocation.workers,
        "name": fork.name,
        "wait": wait,
    }
    command = [sys.executable, "-P", "-m", "labrun.runner.commands.forks.inside"]
    limit = (invocation.timeout or _READY_SECONDS) + _MARGIN
    try:
        done = subprocess.run(
            command, input=json.dumps(orders), capture_output=True, text=True, timeout=limit, check=False
        )
        return [_row(row) for row in json.loads(done.stdout)]
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError) as error:
        said = done.stderr.strip().splitlines() if isinstance(error, ValueError) else []
        raise HypervisorError(
            f"the fork did not begin: {said[-1] if said else error}", step="fork"
        ) from error


def _row(found: dict[str, Any]) -> Outcome:
    return Outcome(**{**found, "status": Status(found["status"])})


@verb("drop", recorded=True)
@click.argument("name", shell_complete=complete_fork)
def drop_command(invocation: Invocation, name: str) -> Report:
    """Remove a fork and all that runs in it. Asks first, unless -y is given."""

    session = open_session(invocation, single="drop")
    _refuse_far(session)
    require_local(session.uri, "a fork")
    made = FORKS.find(session.lab.name, name)
    losses = [f"machine {host} of the fork {name} (its disk with it)" for host in made.machines]
    confirm(invocation, "Remove these?", losses)
    with lab_lock(session.state.lock, "drop"):
        return Report(session.lab.name, [dropped(made, session.uri)])


def dropped(fork: Snapshot, uri: str) -> Outcome:
    """Remove a fork, with the lab's lock held, and return its row."""
    from labrun.tasks.forks.namespace import drop

    try:
        drop(fork, uri)
    except LabrunError as error:
        return Outcome(HYPERVISOR, "fork", fork.name, Status.FAILED, "absent", "there", error.reason)
    return Outcome(HYPERVISOR, "fork", fork.name, Status.CHANGED, "absent", "removed")
