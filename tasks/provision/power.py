"""The Nornir tasks that start, stop and remove machines."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from nornir.core.task import Result, Task

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.progress import report
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.rows import failure_row, removed_row

__all__ = ["Removal", "power", "remove_machine"]


class Removal(NamedTuple):
    """The machine to remove: its driver and URI, its lab, its name in libvirt, the paths that others use."""

    driver: str
    uri: str
    lab: str
    domain: str
    keep: Collection[str] = ()


def power(task: Task, action: str, timeout: float) -> Result:
    """Start or stop one machine: ``action`` is ``start``, ``stop`` or ``restart``.

    Reads ``host.data["power"]``: ``driver``, ``uri``, ``domain``, ``state`` (as observed, None if there is
    no machine, and ``absent`` is why), ``taken`` (why it cannot be started, empty if it can).
    """
    host = task.host.name
    job = task.host.data["power"]
    began = time.monotonic()
    wanted = "shut off" if action == "stop" else "running"
    if job["state"] is None:
        row = Outcome(host, "machine", host, Status.FAILED, wanted, "absent", job["absent"])
        return Result(host=task.host, result=[row])
    driver = driver_for(job["driver"], job["uri"])
    running = job["state"] == "running"
    if action != "stop" and job["taken"]:
        row = Outcome(host, "machine", host, Status.FAILED, wanted, job["state"], job["taken"])
        return Result(host=task.host, result=[replace(row, hypervisor_fault=True)], failed=True)
    if action != "restart" and job["state"] == wanted:
        return Result(host=task.host, result=[Outcome(host, "machine", host, Status.OK, wanted, wanted)])
    by_itself = True
    try:
        if action in ("stop", "restart") and (running or job["state"] != "shut off"):
            report(host, "stopping")
            by_itself = driver.stop(job["domain"], timeout)
        if action in ("start", "restart"):
            report(host, "starting")
            driver.start(job["domain"])
    except LabrunError as error:
        return Result(host=task.host, result=[failure_row(error, host, "machine", host, began)], failed=True)
    # What was not written to the disk by then is lost.
    before = f"did not shut down in {timeout:g} s" if running else f"was {job['state']}"
    why = None if by_itself else f"it {before} and was powered off"
    row = Outcome(
        host, "machine", host, Status.CHANGED, wanted, wanted, why, seconds=time.monotonic() - began
    )
    return Result(host=task.host, result=[row], changed=True)


def remove_machine(task: Task) -> Result:
    """Remove one machine, as the Removal in ``host.data["down"]`` says."""
    host, job, began = task.host.name, task.host.data["down"], time.monotonic()
    report(host, "removing")
    try:
        driver_for(job.driver, job.uri).remove(job.lab, host, job.domain, job.keep)
    except LabrunError as error:
        return Result(host=task.host, result=[failure_row(error, host, "machine", host, began)], failed=True)
    return Result(host=task.host, result=[removed_row(host, "machine", host, began)], changed=True)
