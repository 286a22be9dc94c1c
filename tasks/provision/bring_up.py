"""The Nornir task that brings one machine up: create it, start it, and wait until it is ready."""

from __future__ import annotations

import time
from dataclasses import replace

from nornir.core.task import Result, Task

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.progress import report
from labrun.tasks.provision.await_ready import ready_row
from labrun.tasks.provision.driver import Driver, MachineSpec
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.machine_job import MachineJob
from labrun.tasks.provision.machine_login import put_keys_in, put_on_record
from labrun.tasks.provision.machines import USER, from_next_start
from labrun.tasks.provision.objects import Plan
from labrun.tasks.provision.rows import done_row, failure_row, kept_row

__all__ = ["await_machine", "provision_machine"]


def provision_machine(task: Task) -> Result:
    """Create, change or start one machine and wait until it is ready.

    Reads the MachineJob in ``host.data["up"]``. The result is a list of Outcomes, sections ``machine`` and
    ``ready``.
    """
    host = task.host.name
    job: MachineJob = task.host.data["up"]
    driver = driver_for(job.driver, job.uri)
    began = time.monotonic()
    try:
        row = _make(driver, job, began)
    except LabrunError as error:
        job.lost.add(host)
        rows = [failure_row(error, host, "machine", host, began)]
        rows.append(Outcome(host, "ready", host, Status.SKIPPED, why="there is no machine to wait for"))
        return Result(host=task.host, result=rows, failed=True)
    rows = [row]
    if job.behind:
        why = f"the network {job.behind} is not as the file says yet"
        rows.append(Outcome(host, "ready", host, Status.PENDING, "ready", why=why))
    elif row.status is Status.PENDING or not job.wait:
        why = "--no-wait" if not job.wait else "the machine is not as the file says"
        rows.append(Outcome(host, "ready", host, Status.SKIPPED, why=why))
    else:
        rows.append(ready_row(task, driver, job))
        if rows[-1].status in (Status.FAILED, Status.UNREACHABLE):
            job.lost.add(host)
    return Result(host=task.host, result=rows, changed=row.status is Status.CHANGED)


def await_machine(task: Task) -> Result:
    """Wait until one machine that runs is ready, as the MachineJob in ``host.data["up"]`` says."""
    job: MachineJob = task.host.data["up"]
    row = ready_row(task, driver_for(job.driver, job.uri), job)
    if row.status in (Status.FAILED, Status.UNREACHABLE):
        job.lost.add(task.host.name)
    return Result(host=task.host, result=[row])


def _make(driver: Driver, job: MachineJob, began: float) -> Outcome:
    spec, plan = job.spec, job.plan
    if plan.kept and not plan.left:
        return kept_row(spec.host, "machine", plan, plan.kept)
    report(spec.host, plan.action if plan.action != "none" else "running")
    if plan.action == "recreate":
        _retire(driver, job)
    if plan.action in ("create", "recreate"):
        put_on_record(job)
        driver.create(spec)
        report(spec.host, "defined")
    elif plan.action == "update" and not _update(driver, spec, plan):
        why = f"this needs a new machine: labrun up --recreate --hosts {spec.host}"
        return kept_row(spec.host, "machine", plan, why)
    if plan.start:
        driver.start(spec)
    report(spec.host, "started")
    if plan.action == "update" and USER in plan.item.differences:
        report(spec.host, "user", spec.user)
        put_keys_in(driver, job)
        # On record only when the user is there: a run that was killed before is made up for by the next.
        driver.update(replace(_as_left(spec, plan), user=spec.user), (USER,))
    owed = driver.restart_owed(spec.domain) if plan.action in ("none", "update") else ()
    row = done_row(spec.host, "machine", plan, began)
    later = from_next_start(owed) if owed else None
    return replace(
        row,
        expected="running",
        actual="running" if plan.action == "none" else row.actual,
        why="; ".join(filter(None, [later, row.why])) or None,
    )


def _update(driver: Driver, spec: MachineSpec, plan: Plan) -> bool:
    """Carry out what differs but for the login user, who is made in the running guest, and what is left."""
    others = tuple(key for key in plan.item.differences if key != USER and key not in plan.left)
    return not others or driver.update(_as_left(spec, plan), others)


def _as_left(spec: MachineSpec, plan: Plan) -> MachineSpec:
    """Return the spec with what stays as it is for now."""
    now = plan.item.have
    if "disk" in plan.left:
        spec = replace(spec, disk=int(now["disk"]))
    if "disks" in plan.left:
        spec = replace(spec, disks=tuple(map(int, now["disks"].split())))
    return replace(spec, user=now.get(USER, spec.user))


def _retire(driver: Driver, job: MachineJob) -> None:
    """Remove the machine to be replaced, once it is certain that a new one can be created."""
    spec = job.spec
    driver.rehearse(spec)
    if job.old == (driver.name, driver.uri()):
        driver.retire(spec.lab, spec.domain)
    else:
        # The new driver does not replace the old driver's files, so remove them here.
        driver_for(*job.old).remove(spec.lab, spec.host, spec.domain)
