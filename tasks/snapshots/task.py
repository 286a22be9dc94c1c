"""The Nornir tasks that save machines into a snapshot and restore them, and the pause around them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nornir.core.task import Result, Task

from labrun.errors import LabrunError
from labrun.hypervisor import connect, translated
from labrun.outcome import Outcome, Status
from labrun.progress import report
from labrun.tasks.provision.domains import find_domain, require, state_of
from labrun.tasks.provision.rows import failure_row
from labrun.tasks.snapshots.keeper import MachineFolder, keeper_for

__all__ = ["Pause", "put_machine_back", "save_machine", "stage_machine", "still", "unstage_all"]

_FREEZE_SECONDS = 20.0


@dataclass(slots=True)
class Pause:
    """How long machines stood still, in seconds from the first that paused to the last that went on."""

    seconds: float = 0.0


@contextmanager
def still(machines: Sequence[MachineFolder]) -> Iterator[Pause]:
    """Pause the running ones among the machines for the time of the block, all before it begins.

    So what they write, and what they send each other, is of one moment. What it yields knows afterwards how
    long they stood still. Raises HypervisorError.
    """
    held = []
    pause = Pause()
    began = time.monotonic()
    try:
        for machine in machines:
            if machine.state != "running":
                continue
            with translated("pause", machine.host):
                domain = require(
                    find_domain(connect(machine.uri), machine.domain, machine.lab), machine.domain
                )
                held.append((machine, domain))
                _suspend(domain)
        yield pause
    finally:
        failures = []
        for machine, domain in held:
            try:
                with translated("resume", machine.host):
                    _resume(domain)
            except LabrunError as error:
                failures.append(error)
        pause.seconds = time.monotonic() - began if held else 0.0
        if failures:
            raise failures[0]


def _suspend(domain: Any) -> None:
    """Pause a domain. libvirt gives a container's processes one second to stop: on a busy machine too little.

    Raises libvirtError.
    """
    import libvirt

    deadline = time.monotonic() + _FREEZE_SECONDS
    while True:
        try:
            domain.suspend()
        except libvirt.libvirtError:
            # It lets them go on when it gives up.
            if time.monotonic() > deadline or state_of(domain) not in ("running", "paused"):
                raise
        else:
            return


def _resume(domain: Any) -> None:
    import libvirt

    try:
        domain.resume()
    except libvirt.libvirtError:
        # It was not paused yet, or somebody else was quicker.
        if state_of(domain) != "running":
            raise


def save_machine(task: Task) -> Result:
    """Save one machine, the MachineFolder in ``host.data["snapshot"]``; it is paused or off."""

    def save(machine: MachineFolder) -> str:
        kept = keeper_for(machine.kind).save(machine)
        words = f"{kept.size / 2**20:.1f} MiB of files"
        return f"{words}, {kept.memory / 2**20:.0f} MiB of memory" if kept.memory else words

    return _done(task, "saving", "saved", save)


def stage_machine(task: Task) -> Result:
    """Copy what is kept of a machine beside the files that it uses."""

    def stage(machine: MachineFolder) -> str:
        keeper_for(machine.kind).stage(machine)
        return "copied"

    return _done(task, "copying", "restored", stage)


def put_machine_back(task: Task) -> Result:
    """Give one machine the staged files; ``actual`` of the row is its state then."""
    return _done(task, "restoring", "restored", lambda machine: keeper_for(machine.kind).put_back(machine))


def _done(task: Task, stage: str, wanted: str, work: Callable[[MachineFolder], str]) -> Result:
    host, machine, began = task.host.name, task.host.data["snapshot"], time.monotonic()
    report(host, stage)
    try:
        actual = work(machine)
    except (LabrunError, OSError) as error:
        known = error if isinstance(error, LabrunError) else _of_system(error)
        row = failure_row(known, host, "snapshot", host, began)
        return Result(host=task.host, result=[row], failed=True)
    seconds = time.monotonic() - began
    row = Outcome(host, "snapshot", host, Status.CHANGED, wanted, actual, seconds=seconds)
    return Result(host=task.host, result=[row], changed=True)


def _of_system(error: OSError) -> LabrunError:
    return LabrunError(f"{error.filename or 'a file'}: {error.strerror or error}", step="snapshot")


def unstage_all(machines: Sequence[MachineFolder]) -> None:
    """Remove what was staged for the machines."""
    for machine in machines:
        with contextlib.suppress(LabrunError, OSError):
            keeper_for(machine.kind).unstage(machine)
