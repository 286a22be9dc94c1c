"""``labrun fleet status``: what runs, and with which versions."""

from __future__ import annotations

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.commands.fleet.rows import error_row, fleet_row
from labrun.runner.engine.fleet.model import Fleet, FleetFolder, Machine
from labrun.runner.engine.fleet.running import RunningFleet, Seen

__all__ = ["status_rows"]

_START = "`labrun fleet install` starts it"


def status_rows(fleet: Fleet, folder: FleetFolder) -> list[Outcome]:
    """Return a row for the scheduler and one for each machine."""
    from labrun.runner.engine.fleet.client import connected

    running = RunningFleet(fleet, folder)
    if not running.scheduler.is_running:
        rows = [fleet_row("scheduler", Status.FAILED, "not running", _START)]
        return rows + [_machine_row(running, machine, None) for machine in fleet.machines]
    try:
        with connected(fleet.scheduler, running.files) as client:
            seen = running.seen(client)
    except LabrunError as error:
        return [error_row("scheduler", error)]
    rows = [fleet_row("scheduler", Status.OK, fleet.scheduler)]
    return rows + [_machine_row(running, machine, seen.get(machine.name)) for machine in fleet.machines]


def _machine_row(running: RunningFleet, machine: Machine, seen: Seen | None) -> Outcome:
    from labrun.runner.engine.fleet.work_here import fleet_versions

    if seen is None:
        words = running.carrier(machine).last_words().splitlines()[-1:]
        why = f"{words[0]} ({_START})" if words else _START
        return fleet_row(machine.name, Status.FAILED, "no worker", why)
    if seen.versions is None:
        return fleet_row(machine.name, Status.FAILED, "another labrun", "`labrun fleet install` corrects it")
    work = f"{seen.shards} shard{'' if seen.shards == 1 else 's'}"
    actual = f"labrun {seen.versions.labrun}, Python {seen.versions.python}, {work}"
    wrong = fleet_versions().differences(seen.versions)
    if wrong:
        return fleet_row(machine.name, Status.FAILED, actual, "; ".join(wrong))
    return fleet_row(machine.name, Status.OK, actual)
