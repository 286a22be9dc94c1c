"""The Nornir task that brings one machine up: create it, start it, and wait until it is ready."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from nornir.core.task import Result, Task

from labrun.errors import CommandError, LabrunError, UnreachableError
from labrun.hypervisor import connect, translated
from labrun.outcome import Outcome, Status
from labrun.ports import Transport
from labrun.progress import report
from labrun.state import LabState
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.provision.domains import find_domain, state_of
from labrun.tasks.provision.driver import Driver, MachineSpec
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.failure import failure_row
from labrun.tasks.provision.machine_plan import MachinePlan
from labrun.tasks.provision.ready import Ready, wait_until_ready
from labrun.tasks.provision.specs import spec_from_json

__all__ = ["provision_machine"]

_known_hosts = threading.Lock()
# TCP retries after 1, 3 and 7 s: a new attempt notices a guest that comes up in between sooner.
_DIAL = 2.0


def provision_machine(task: Task) -> Result:
    """Create, change or start one machine and wait until it is ready.

    Reads ``host.data["up"]``: ``spec`` (spec_to_json), ``plan`` (action, start, changes), ``driver``,
    ``uri``, ``wait``, ``timeout`` in seconds, ``addresses`` (mac -> addresses the guest must have),
    ``state`` (the state directory), ``recover`` (install the lab's key without a login), ``host_key``
    ([addresses, public key] of a machine that is created, else None). The result is a list of Outcomes,
    sections ``machine`` and ``ready``.
    """
    host = task.host.name
    job = task.host.data["up"]
    spec = spec_from_json(job["spec"])
    plan = MachinePlan(host, job["plan"]["action"], job["plan"]["start"], job["plan"]["changes"])
    driver = driver_for(job["driver"], job["uri"])
    began = time.monotonic()
    try:
        row = _make(driver, spec, plan, job, began)
    except LabrunError as error:
        rows = [failure_row(error, host, "machine", host, began)]
        rows.append(Outcome(host, "ready", host, Status.SKIPPED, why="there is no machine to wait for"))
        return Result(host=task.host, result=rows, failed=True)
    rows = [row]
    if row.status is Status.PENDING or not job["wait"]:
        why = "--no-wait" if not job["wait"] else "the machine is not as the file says"
        rows.append(Outcome(host, "ready", host, Status.SKIPPED, why=why))
    else:
        rows.append(_ready_row(task, driver, spec, job))
    return Result(host=task.host, result=rows, changed=row.status is Status.CHANGED)


def _make(driver: Driver, spec: MachineSpec, plan: MachinePlan, job: dict[str, Any], began: float) -> Outcome:
    report(spec.host, plan.action if plan.action != "none" else "running")
    done = "running"
    if plan.action == "recreate":
        _retire(driver, spec, job["old_driver"])
        done = "made anew"
    if plan.action in ("create", "recreate"):
        _put_on_record(spec, job)
        driver.create(spec)
        report(spec.host, "defined")
        done = "created" if plan.action == "create" else done
    elif plan.action == "update":
        if not driver.update(spec, tuple(plan.changes)):
            return Outcome(
                spec.host,
                "machine",
                spec.host,
                Status.PENDING,
                expected="as in the file",
                actual="as before",
                why=f"only a new machine can carry this: labrun up --recreate --hosts {spec.host}",
                diff=plan.diff(),
            )
        done = "changed in place"
    if plan.start:
        driver.start(spec)
        done = "started" if plan.action == "start" else done
    report(spec.host, "started")
    status = Status.OK if plan.action == "none" else Status.CHANGED
    owed = driver.restart_owed(spec.domain) if plan.action in ("none", "update") else ()
    seconds = time.monotonic() - began
    return Outcome(
        spec.host,
        "machine",
        spec.host,
        status,
        expected="running",
        actual=done,
        why=f"from its next start on: {', '.join(owed)}" if owed else None,
        diff=plan.diff(),
        seconds=seconds,
    )


def _retire(driver: Driver, spec: MachineSpec, old_driver: list[str]) -> None:
    """Remove the machine to be replaced, once it is certain that a new one can be created."""
    driver.rehearse(spec)
    if old_driver == [driver.name, driver.uri()]:
        driver.retire(spec.lab, spec.domain)
    else:
        # The new driver does not replace the old driver's files, so remove them here.
        driver_for(*old_driver).remove(spec.lab, spec.host, spec.domain)


def _put_on_record(spec: MachineSpec, job: dict[str, Any]) -> None:
    """Record the new machine's host key while neither the old machine nor the new one exists.

    Wherever this run is killed, the recorded key belongs to the defined machine, or no machine is defined
    and the next run creates one with a new key.
    """
    addresses, public = job["host_key"]
    with _known_hosts:
        LabState(Path(job["state"]), spec.lab).remember_host_keys({spec.host: (addresses, public)})


def _ready_row(task: Task, driver: Driver, spec: MachineSpec, job: dict[str, Any]) -> Outcome:
    from labrun.tasks.guest.transport import transport_of

    began = time.monotonic()
    note = ""
    try:
        if job["recover"]:
            note = _put_key_in(driver, spec, job)
        ready = wait_until_ready(
            spec.host,
            timeout=float(job["timeout"]),
            address=lambda: _address(task, job),
            login=lambda _address: transport_of(task.host, dial=_DIAL),
            expected={mac: tuple(found) for mac, found in job["addresses"].items()},
            alive=lambda: _is_running(driver, spec),
        )
    except LabrunError as error:
        return failure_row(error, spec.host, "ready", spec.host, began)
    return _as_row(driver, spec, ready, task.host.hostname or "", note)


def _address(task: Task, job: dict[str, Any]) -> str | None:
    """Look once for the host's address: static ones are known, a lease has to appear first."""
    if not job["dhcp"]:
        return str(task.host.hostname) if task.host.hostname else None
    from labrun.inventory.hosts.leases import LibvirtLeases

    for lease in LibvirtLeases(job["uri"], agents=False).leases(job["dhcp"]["networks"]):
        if lease.mac == job["dhcp"]["mac"]:
            task.host.hostname = str(lease.address)
            task.host.data.pop("labrun_unreachable", None)
            return str(lease.address)
    return None


def _is_running(driver: Driver, spec: MachineSpec) -> bool:
    # Polled ten times a second for each booting host: read one domain's state, not every domain's XML.
    with translated("observe", spec.host):
        domain = find_domain(connect(driver.uri()), spec.domain, spec.lab)
        return domain is not None and state_of(domain) == "running"


def _as_row(driver: Driver, spec: MachineSpec, ready: Ready, address: str, note: str) -> Outcome:
    host = spec.host
    if not ready.error:
        actual = f"ready at {ready.address} in {ready.seconds:.1f} s"
        if ready.address != address:
            note = f"that is its former address; `labrun configure` gives it {address or 'the new one'}"
        return Outcome(host, "ready", host, Status.OK, "ready", actual, note or None, seconds=ready.seconds)
    status = Status.UNREACHABLE if ready.error == "unreachable" else Status.FAILED
    tail = driver.console_tail(spec.domain)
    why = f"{ready.why}\nlast lines of its console:\n{tail}" if tail else ready.why
    return Outcome(
        host,
        "ready",
        host,
        status,
        expected="ready",
        actual=f"stage {ready.stage}",
        why=why,
        seconds=ready.seconds,
    )


def _put_key_in(driver: Driver, spec: MachineSpec, job: dict[str, Any]) -> str:
    """Install the lab's new key on a machine whose old key is lost, and read its host key in the process."""
    state = LabState(Path(job["state"]), spec.lab)
    script = assigned({"user": spec.user, "key": state.public_key}) + guest_script("put_key")
    deadline = time.monotonic() + float(job["timeout"])
    while True:
        try:
            done = _out_of_band(driver, spec).run(script, timeout=30)
        except UnreachableError as error:
            # A guest agent answers only when the guest has booted far enough.
            if time.monotonic() >= deadline:
                raise
            report(spec.host, "recover", error.reason)
            time.sleep(0.5)
            continue
        break
    if done.exit_status != 0:
        raise CommandError(done.stderr.strip(), host=spec.host, step="recover")
    addresses = [text.partition("/")[0] for found in job["addresses"].values() for text in found]
    with _known_hosts:
        state.remember_host_keys({spec.host: (addresses, done.stdout.strip())})
    return "the lab's keys were lost: a new one was put in without a login"


def _out_of_band(driver: Driver, spec: MachineSpec) -> Transport:
    transport = driver.out_of_band(spec.domain)
    if transport is None:
        raise UnreachableError("no way in without a login yet", host=spec.host, step="recover")
    return transport
