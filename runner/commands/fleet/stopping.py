"""``labrun fleet stop``: end what runs, and remove what must not be left lying about."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.commands.fleet.rows import error_row, fleet_row
from labrun.runner.engine.fleet.machine import Remote
from labrun.runner.engine.fleet.model import Fleet, FleetFolder, Machine
from labrun.runner.engine.fleet.running import RunningFleet

__all__ = ["stop_rows"]

_AT_A_TIME = 8


def stop_rows(fleet: Fleet, folder: FleetFolder, *, remove: bool) -> list[Outcome]:
    """End everything, and return a row for each thing. With ``remove`` nothing of the fleet is left."""
    running = RunningFleet(fleet, folder)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        one = [pool.submit(_machine_row, running, machine, remove=remove) for machine in fleet.machines]
        rows = [each.result() for each in one]
    was_running = running.scheduler.stop()
    rows.insert(0, fleet_row("scheduler", _changed(was_running), "stopped"))
    if remove and not any(row.exit_code for row in rows):
        shutil.rmtree(folder.certificates, ignore_errors=True)
        folder.file.unlink(missing_ok=True)
    return rows


def _machine_row(running: RunningFleet, machine: Machine, *, remove: bool) -> Outcome:
    was_running = running.carrier(machine).stop()
    try:
        removed = Remote(running.fleet, machine).forget(wheels=remove)
    except LabrunError as error:
        return error_row(machine.name, error)
    return fleet_row(machine.name, _changed(was_running or bool(removed)), "stopped")


def _changed(changed: bool) -> Status:
    return Status.CHANGED if changed else Status.OK
