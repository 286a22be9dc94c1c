"""`labrun start`, `stop` and `restart`: the power switch of the lab's machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.engine.hypervisor_engine import hypervisor_engine
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import open_session
from labrun.runner.engine.unmanaged import existing_rows
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labrun.tasks.provision.file_users import FileUser
    from labrun.tasks.provision.planning import SeenMachine

_SHUTDOWN_SECONDS = 60.0
_DONE = {"start": "started", "stop": "stopped", "restart": "restarted"}


def _switch(invocation: Invocation, action: str, *, wait: bool = False) -> Report:
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.provision.file_users import file_users
    from labrun.tasks.provision.power import power

    session = open_session(invocation)
    lab, rows = session.lab, []
    with lab_lock(session.state.lock, action), progress(session.hosts, invocation):
        seen = session.machines()
        absent = session.absent(seen)
        starts = bool(seen) and action != "stop"
        lost = session.lost()
        users: dict[str, Mapping[str, FileUser]] = {}
        macs: dict[str, Mapping[tuple[str, str], str]] = {}
        for member in session.members() if starts else ():
            used, foreign = file_users(lab.name, member.uri), _foreign_macs(lab.name, member.uri)
            users |= dict.fromkeys(member.part.hosts, used)
            macs |= dict.fromkeys(member.part.hosts, foreign)
        jobs = {
            host: {
                "power": {
                    **_job(lab.libvirt_name(host), seen.get(host)),
                    "absent": absent.get(host, ""),
                    "taken": _taken(lab.name, host, seen.get(host), users.get(host, {}), macs.get(host, {})),
                }
            }
            for host in session.hosts
            if lab.hosts[host].address is None and host not in lost
        }
        if jobs:
            with hypervisor_engine(session.uri, jobs, until=_DONE[action]) as nornir:
                result = nornir.run(power, action=action, timeout=invocation.timeout or _SHUTDOWN_SECONDS)
            rows = outcomes_of(result, "machine")
        if wait:
            from labrun.runner.engine.waiting import ready_rows

            rows += ready_rows(session, [row.host for row in rows if not row.exit_code])
        rows += [
            Outcome(host, "machine", host, Status.UNKNOWN, why=lost[host])
            for host in session.hosts
            if host in lost
        ]
    return Report(lab.name, rows + existing_rows(lab, session.hosts))


def _foreign_macs(lab: str, uri: str) -> Mapping[tuple[str, str], str]:
    from labrun.hypervisor import translated
    from labrun.tasks.provision.foreign_macs import foreign_macs

    with translated("domains"):
        return foreign_macs(uri, lab)


def _taken(
    lab: str,
    host: str,
    machine: SeenMachine | None,
    users: Mapping[str, FileUser],
    macs: Mapping[tuple[str, str], str],
) -> str:
    """Return which running machine of others has a MAC or the files of this one, empty if there is none."""
    from labrun.tasks.provision.domains import network_in
    from labrun.tasks.provision.driver_registry import driver_for
    from labrun.tasks.provision.file_users import in_use
    from labrun.tasks.provision.foreign_macs import mac_taken

    if machine is None:
        return ""
    words = machine.machine.defined.get("nics", "").split()
    if taken := mac_taken(((word.partition("@")[0], network_in(word)) for word in words), macs):
        return taken
    driver = driver_for(machine.kind, machine.uri)
    return in_use(users, lambda path: driver.owns(lab, host, path), only_running=True)


def _job(domain: str, machine: SeenMachine | None) -> dict[str, str | None]:
    """Return what the task works on; its ``state`` is None if there is no machine."""
    return {
        "driver": machine.kind if machine else "",
        "uri": machine.uri if machine else "",
        "domain": domain,
        "state": machine.machine.state if machine else None,
    }


@verb("start", recorded=True)
def start(invocation: Invocation) -> Report:
    """Start the machines that are off.

    Does not wait until they answer: `labrun up` does.
    """
    return _switch(invocation, "start")


@verb("stop", recorded=True)
def stop(invocation: Invocation) -> Report:
    """Shut the machines down and keep them.

    A machine that is not off after --timeout seconds (default 60) is powered off, and its row says so.
    """
    return _switch(invocation, "stop")


@verb("restart", recorded=True)
@click.option("--no-wait", is_flag=True, help="Do not wait until the machines are ready.")
def restart(invocation: Invocation, no_wait: bool) -> Report:
    """Shut the machines down, start them again, and wait until they are ready.

    A machine that is off is started.
    """
    return _switch(invocation, "restart", wait=not no_wait)
