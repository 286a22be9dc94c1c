"""`labrun down` of a lab over several hypervisors: those that the file names, and those that were noted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from labrun.errors import HypervisorError, UsageError
from labrun.hypervisor import connect, enter_network, is_local
from labrun.inventory.model import Lab
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import select_hosts
from labrun.runner.commands.down import forget, left_notes, remove_objects, take_down
from labrun.runner.commands.snapshots.with_lab import remove_spread, without_copies
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.unmanaged import existing_rows
from labrun.state import LabState
from labrun.state_members import SEVERAL, NotedMember, noted_members
from labrun.tasks.provision.networks import observe_networks
from labrun.tasks.provision.planning import see_machines
from labrun.tasks.provision.several_plans import labelled
from labrun.tasks.provision.snapshot_store import SNAPSHOTS
from labrun.tasks.provision.tunnels import observe_tunnels

__all__ = ["down_several"]


def down_several(invocation: Invocation, name: str, lab: Lab | None) -> Report:
    """Remove a lab, or its selected hosts, from every hypervisor that answers.

    What is on one that does not answer stays noted: a later `down` removes it.
    """
    if lab is None and invocation.hosts is not None:
        raise UsageError("a lab of several hypervisors needs its file for --hosts", step="--hosts")
    hosts = select_hosts(lab, invocation.hosts) if lab is not None else ()
    existing = existing_rows(lab, hosts) if lab is not None else []
    state = LabState.open(name, SEVERAL, invocation.state_dir)
    noted = noted_members(state)
    uris = {member: each.uri for member, each in noted.items()}
    uris |= {member: each.uri for member, each in lab.hypervisors.items()} if lab is not None else {}
    for uri in uris.values():
        if is_local(uri):
            enter_network(uri)
    with lab_lock(state.lock, "down"):
        answering, rows = _answering(uris)
        if losses := _losses(name, answering, hosts if invocation.hosts is not None else None):
            confirm(invocation, "Remove these?", losses)
        for member, uri in answering.items():
            invocation.recording.uri = uri
            found = take_down(invocation, name, uri, state, lab, is_confirmed=True)
            if invocation.hosts is None and not any(row.exit_code for row in found):
                found += _without_tunnels(name, uri, noted)
                if member in noted and noted[member].copies:
                    found += without_copies(name, uri)
            rows += labelled(found, partial("{1} on {0}".format, member))
        if invocation.hosts is None and not any(row.exit_code for row in rows):
            rows += remove_spread(name, uris.values())
            forget(state, invocation)
    return Report(name, rows + existing, notes=left_notes(invocation, name))


def _answering(uris: Mapping[str, str]) -> tuple[dict[str, str], list[Outcome]]:
    """Return the hypervisors that answer, and a failed row for each of the others."""
    found: dict[str, str] = {}
    rows = []
    for member, uri in uris.items():
        try:
            connect(uri)
            found[member] = uri
        except HypervisorError as error:
            why = f"{error.reason}: what it has of the lab stays (`labrun down` again, once it answers)"
            row = Outcome(HYPERVISOR, "hypervisor", member, Status.FAILED, "answers", why=why)
            rows.append(replace(row, hypervisor_fault=True))
    return found, rows


def _without_tunnels(lab: str, uri: str, noted: Mapping[str, NotedMember]) -> list[Outcome]:
    """Remove the ends of tunnels on a hypervisor. Return their rows."""
    # A lab without tunnels needs no shell there.
    if not any(each.tunnels for each in noted.values()):
        return []
    return remove_objects(uri, lab, "tunnel", observe_tunnels(connect(uri), lab))


def _losses(lab: str, uris: Mapping[str, str], hosts: tuple[str, ...] | None) -> list[str]:
    losses = [f"snapshot {each.name}" for each in SNAPSHOTS.of(lab)] if hosts is None else []
    for member, uri in uris.items():
        for host in see_machines(lab, uri):
            if hosts is None or host in hosts:
                losses.append(f"machine {host} on {member} (its disk with it)")
    for member, uri in uris.items() if hosts is None else ():
        losses += [f"network {network} on {member}" for network in observe_networks(connect(uri), lab)]
    return losses
