"""`labrun down`: remove the objects with the lab's tag, with or without the lab file."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from labrun.errors import HypervisorError, LabFileError, LabrunError, UsageError
from labrun.hypervisor import connect, enter_network, is_local
from labrun.hypervisor_uri import asked_hypervisor
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import load
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import select_hosts
from labrun.runner.cli.terminal import say
from labrun.runner.commands.completions import complete_lab_name
from labrun.runner.commands.snapshots.with_lab import remove_with_lab
from labrun.runner.engine.hypervisor_engine import hypervisor_engine
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.unmanaged import NO_HYPERVISOR, existing_rows
from labrun.runner.timer.files import scheduled
from labrun.runner.verb import verb
from labrun.state import LabState
from labrun.state_folders import UnavailableFolderError
from labrun.state_members import SEVERAL, noted_members
from labrun.tasks.provision.planning import SeenMachine, see_machines
from labrun.tasks.provision.snapshot_store import FORKS, SNAPSHOTS, Snapshot, snapshots_on
from labrun.tasks.provision.strays import Stray, see_strays, stray_rows

if TYPE_CHECKING:
    from labrun.inventory.model import Lab
    from labrun.tasks.provision.objects import Observed


@verb("down", recorded=True)
@click.option(
    "--name",
    metavar="LAB",
    shell_complete=complete_lab_name,
    help="The lab's name, if its file is gone.",
)
def command(invocation: Invocation, name: str | None) -> Report:
    """Remove the lab's machines and networks, and nothing else.

    Only what carries the lab's tag in libvirt is touched. Asks first, unless -y is given.
    """
    lab_name, uri, lab = _which(invocation, name)
    if uri == SEVERAL:
        from labrun.runner.commands.span_down import down_several

        return down_several(invocation, lab_name, lab)
    existing = existing_rows(lab, select_hosts(lab, invocation.hosts)) if lab is not None else []
    if lab is not None and not lab.needs_hypervisor:
        if invocation.hosts is None:
            forget(LabState.open(lab_name, NO_HYPERVISOR, invocation.state_dir), invocation)
        return Report(lab_name, existing, notes=left_notes(invocation, lab_name))
    if uri is None:
        left = invocation.hosts is None and _remove_leftovers(invocation, lab_name)
        if lab is None and not left:
            _refuse_unknown(invocation, lab_name)
        row = Outcome(
            HYPERVISOR,
            "lab",
            lab_name,
            Status.OK,
            "absent",
            "absent",
            "nothing to remove: nothing carries its tag",
        )
        return Report(lab_name, [row, *existing], notes=left_notes(invocation, lab_name))
    invocation.recording.uri = uri
    enter_network(uri)
    state = LabState.open(lab_name, uri, invocation.state_dir)
    with lab_lock(state.lock, "down"):
        rows = take_down(invocation, lab_name, uri, state, lab)
        if invocation.hosts is None and not any(row.exit_code for row in rows):
            forget(state, invocation)
    return Report(lab_name, rows + existing, notes=left_notes(invocation, lab_name))


def _remove_leftovers(invocation: Invocation, lab: str) -> bool:
    """Delete what a killed `down` has left behind of a lab that no longer exists in libvirt, if anything."""
    from labrun.tasks.provision.file_users import file_users
    from labrun.tasks.provision.hypervisor_choice import LOCAL_URIS

    found = False
    for uri in LOCAL_URIS:
        state = LabState.find(lab, uri, invocation.state_dir)
        if state is not None:
            found = True
            with lab_lock(state.lock, "down"):
                _remove_storage(lab, uri, file_users(lab, uri))
                forget(state, invocation)
    forks = FORKS.of(lab) if invocation.fork is None else ()
    here = snapshots_on(lab, LOCAL_URIS[0])
    if here or forks or (SNAPSHOTS.folder(lab).exists() and not SNAPSHOTS.of(lab)):
        found = True
        losses = [f"snapshot {each.name}" for each in here]
        confirm(invocation, "Remove these?", losses + [f"fork {each.name}" for each in forks])
        state = LabState.open(lab, LOCAL_URIS[0], invocation.state_dir)
        with lab_lock(state.lock, "down"):
            remove_with_lab(lab, LOCAL_URIS[0], here, state)
            _drop_forks(LOCAL_URIS[0], forks)
    return found


def _refuse_unknown(invocation: Invocation, lab: str) -> None:
    """Raise UsageError for a name that no lab has or had here: most likely it is mistyped."""
    from labrun.inventory.file.problems import did_you_mean
    from labrun.runner.history.paths import history_path
    from labrun.tasks.provision.hypervisor_choice import LOCAL_URIS, labs_on

    with contextlib.suppress(UnavailableFolderError):
        if history_path(invocation, lab).exists():
            return
    asked = asked_hypervisor()
    hint = (
        did_you_mean(lab, labs_on((asked,) if asked else LOCAL_URIS)) or "`labrun list` names the labs here"
    )
    raise UsageError(f'no lab is called "{lab}", here or in the history', step="--name", hint=hint)


def _remove_storage(lab: str, uri: str, keep: Collection[str]) -> None:
    """Delete the lab-wide storage, for each driver of its hypervisor, but for the paths to ``keep``.

    The machines are already gone.
    """
    from labrun.tasks.provision.driver_registry import driver_for, lab_drivers

    for kind, driver_uri in lab_drivers(uri):
        try:
            driver_for(kind, driver_uri).remove_lab(lab, keep)
        except HypervisorError:
            if driver_uri == uri:
                raise
            # The hypervisor does not have this driver, so there is no storage with it.


def left_notes(invocation: Invocation, lab: str) -> list[str]:
    """Return notes on what remains although the whole lab is gone."""
    return scheduled(lab) if invocation.hosts is None else []


def forget(state: LabState, invocation: Invocation) -> None:
    """Remove what is recorded of a lab that is gone."""
    try:
        state.remove()
    except LabrunError as error:
        # The lab is gone all the same; its next `up` uses the keys again.
        say(error.reason)
    invocation.recording.removed_lab = True


def _which(invocation: Invocation, name: str | None) -> tuple[str, str | None, Lab | None]:
    """Return the lab's name, its hypervisor (None if nothing is left on any) and the lab of its file."""
    from labrun.tasks.provision.hypervisor_choice import LOCAL_URIS, choose_hypervisor, lab_uris

    lab = None
    if name is None:
        try:
            lab = load(invocation)
        except LabFileError as error:
            error.hint = "labrun down --name LAB works without the file"
            raise
        _begin(invocation, lab.name, lab.digest)
        if not lab.needs_hypervisor:
            return lab.name, None, lab
        if lab.hypervisors:
            return lab.name, SEVERAL, lab
        if lab.hypervisor != "auto" or asked_hypervisor():
            return lab.name, choose_hypervisor(lab).uri, lab
        name = lab.name
    state = LabState.find(name, SEVERAL, invocation.state_dir)
    if lab is None and state is not None and noted_members(state):
        _begin(invocation, name, None)
        return name, SEVERAL, None
    asked = asked_hypervisor()
    found = lab_uris(name, (asked,) if asked else LOCAL_URIS)
    if asked and found:
        found = (asked,)
    if lab is None and found:
        # A mistyped name must not get a history.
        _begin(invocation, name, None)
    return name, found[0] if found else None, lab


def _begin(invocation: Invocation, lab: str, digest: str | None) -> None:
    invocation.recording.begin(invocation, lab, digest)


def take_down(
    invocation: Invocation,
    lab: str,
    uri: str,
    state: LabState,
    model: Lab | None,
    *,
    is_confirmed: bool = False,
) -> list[Outcome]:
    """Remove the lab, or its selected hosts, with its lock held; asks first unless that was done.

    Return the rows.
    """
    from labrun.tasks.provision.file_users import file_users, kept_rows
    from labrun.tasks.provision.forwards import observe_forwards
    from labrun.tasks.provision.hypervisor_rules import observe_rules
    from labrun.tasks.provision.networks import observe_networks
    from labrun.tasks.provision.tunnels import may_have_tunnels, observe_tunnels

    seen = see_machines(lab, uri)
    chosen = _chosen(invocation, seen, model)
    invocation.interruption.lab, invocation.interruption.hosts = lab, tuple(chosen)
    machines = [seen[host] for host in chosen]
    whole = invocation.hosts is None
    networks = observe_networks(connect(uri), lab) if whole else {}
    filters = observe_rules(connect(uri), lab) if whole else {}
    forwards = observe_forwards(connect(uri), lab) if whole else {}
    # Seen before anything is removed: then a copy is told from what was renamed.
    strays = see_strays(lab, uri) if whole else ()
    users = file_users(lab, uri)
    snapshots = snapshots_on(lab, uri) if whole else ()
    # Inside a fork, its `down` is of what it has: not of the fork itself, nor of others.
    forks = FORKS.of(lab) if whole and is_local(uri) and invocation.fork is None else ()
    is_something = machines or networks or filters or forwards or snapshots or forks
    if is_something and not is_confirmed:
        losses = [f"machine {found.machine.host} (its disk with it)" for found in machines]
        named = [f"forward {name}" for name in forwards]
        named += [f"network {name}" for name in networks] + [f"filter {name}" for name in filters]
        named += [f"snapshot {each.name}" for each in snapshots] + [f"fork {each.name}" for each in forks]
        confirm(invocation, "Remove these?", losses + named)
    with progress([found.machine.host for found in machines], invocation):
        rows = remove_machines(uri, lab, machines, users)
    state.forget_hosts(chosen)
    if any(row.exit_code for row in rows):
        # Keep networks that still have guests: removing them would only make the failure harder to read.
        return rows
    if whole and may_have_tunnels(uri):
        rows += remove_objects(uri, lab, "tunnel", observe_tunnels(connect(uri), lab))
    rows += remove_objects(uri, lab, "forward", forwards)
    rows += remove_objects(uri, lab, "network", networks)
    rows += remove_objects(uri, lab, "filter", filters)
    # The disks of a machine that was renamed are in the lab's storage.
    if whole and not any(row.exit_code for row in rows) and not any(_keeps_storage(each) for each in strays):
        _remove_storage(lab, uri, users)
        rows += remove_with_lab(lab, uri, snapshots, state)
        rows += _drop_forks(uri, forks)
    rows += kept_rows(stray_rows(strays), users if machines or whole else {})
    return rows or [
        Outcome(
            HYPERVISOR,
            "lab",
            lab,
            Status.OK,
            "absent",
            "absent",
            "nothing to remove: nothing carries its tag",
        )
    ]


def _drop_forks(uri: str, forks: Sequence[Snapshot]) -> list[Outcome]:
    """Drop the lab's forks. Return their rows."""
    from labrun.runner.commands.forks.command import dropped

    return [dropped(fork, uri) for fork in forks]


def _keeps_storage(stray: Stray) -> bool:
    return stray.alone and stray.section == "machine"


def _chosen(invocation: Invocation, known: Iterable[str], model: Lab | None) -> list[str]:
    """Return the machines to remove: by the file's names and groups, else by the existing machines."""
    names = sorted(known)
    if model is not None:
        # In the order of the file; what it no longer has comes last.
        placed = [name for name in model.hosts if name in names]
        names = [*placed, *(name for name in names if name not in model.hosts)]
    if invocation.hosts is None:
        return names
    if model is not None and not set(invocation.hosts.split(",")) <= set(names):
        return [name for name in names if name in select_hosts(model, invocation.hosts)]
    wanted = [word.strip() for word in invocation.hosts.split(",") if word.strip()]
    unknown = [word for word in wanted if word not in names]
    if unknown:
        raise UsageError(
            f"no machine of this lab is called {', '.join(unknown)}",
            step="--hosts",
            hint=f"there are {', '.join(names)}" if names else "there are none",
        )
    return [name for name in names if name in wanted]


def remove_machines(
    uri: str, lab: str, machines: Sequence[SeenMachine], keep: Collection[str]
) -> list[Outcome]:
    """Remove machines of the lab in parallel, but for the paths to ``keep``. Return their rows."""
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.provision.power import Removal, remove_machine

    data = {
        found.machine.host: {
            "down": Removal(found.kind, found.uri, lab, found.machine.full_name, frozenset(keep))
        }
        for found in machines
    }
    with hypervisor_engine(uri, data, until="been removed") as nornir:
        return outcomes_of(nornir.run(remove_machine), "machine")


def remove_objects(uri: str, lab: str, section: str, objects: Mapping[str, Observed]) -> list[Outcome]:
    """Remove filters or networks (``section``) of the lab, by their names in it. Return their rows."""
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.provision import hypervisor_tasks

    if not objects:
        return []
    names = {name: objects[name].full_name for name in sorted(objects)}
    with hypervisor_engine(uri) as nornir:
        result = nornir.run(
            hypervisor_tasks.remove_objects, section=section, uri=uri, lab=lab, full_names=names
        )
        return outcomes_of(result, section, *names)
