"""What a fleet is, from the command line; and the file and the authority that it gets."""

from __future__ import annotations

import uuid
from dataclasses import replace

from labrun.errors import UsageError
from labrun.runner.engine.fleet.certificates import make_authority
from labrun.runner.engine.fleet.model import LOOPBACK, Fleet, FleetFolder, parse_machine
from labrun.runner.engine.fleet.running import RunningFleet

__all__ = ["described", "write_fleet"]


def described(
    folder: FleetFolder,
    machines: tuple[str, ...],
    *,
    port: int,
    address: str | None,
    tls: bool,
    files: tuple[str | None, str | None],
) -> Fleet:
    """Return the fleet of these machines; one that exists keeps its name. Raises UsageError.

    ``files`` are the key and the known_hosts to use in place of ssh's own.
    """
    if address is not None and not tls:
        raise UsageError("without --tls the scheduler listens on loopback only", step="--address")
    if tls and address is None:
        raise UsageError("--tls needs the address at which the machines reach this one", hint="--address")
    parsed = [parse_machine(text, port + number) for number, text in enumerate(machines, 1)]
    names = [machine.name for machine in parsed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{', '.join(twice)} is named twice")
    known = folder.read()
    return Fleet(
        id=known.id if known is not None else uuid.uuid4().hex[:12],
        carried="tls" if tls else "ssh",
        address=address or LOOPBACK,
        port=port,
        machines=tuple(parsed),
        identity=files[0],
        known_hosts=files[1],
    )


def write_fleet(folder: FleetFolder, wanted: Fleet) -> bool:
    """Write the fleet's file, and make its authority if it needs one. Return whether anything changed.

    Raises UsageError if another fleet is running.
    """
    known = folder.read()
    if known is not None and known != replace(wanted, id=known.id):
        running = RunningFleet(known, folder)
        if running.scheduler.is_running or any(running.carrier(each).is_running for each in known.machines):
            raise UsageError("the fleet is running", hint="`labrun fleet stop` ends it")
    changed = known != wanted
    if changed:
        folder.write(wanted)
    if wanted.carried == "tls":
        changed |= make_authority(folder.certificates)
    return changed
