"""``labrun fleet``: init, install, status, stop."""

from __future__ import annotations

from pathlib import Path

import click

from labrun.errors import UsageError
from labrun.outcome import Status
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.options import BoundedRange
from labrun.runner.cli.report import Report
from labrun.runner.commands.fleet.rows import fleet_row
from labrun.runner.engine.fleet.dask_settings import require_dask
from labrun.runner.engine.fleet.locking import at_work
from labrun.runner.engine.fleet.model import FleetFolder
from labrun.runner.verb import VerbGroup, verb

__all__ = ["command"]

command = VerbGroup("fleet", "Let workers on other machines carry out the work on hosts.")
_WHAT = "labrun fleet"


@verb("init", group=command)
@click.argument("machines", nargs=-1, required=True, metavar="USER@HOST[:PORT]...")
@click.option("--tls", is_flag=True, help="Connect directly, with certificates, instead of through SSH.")
@click.option("--address", metavar="ADDRESS", help="With --tls: where the machines reach this one.")
@click.option(
    "--port",
    type=BoundedRange(1024, 65_000),
    default=14_786,
    show_default=True,
    help="The scheduler's port; the workers use the ports after it.",
)
@click.option("--identity", type=click.Path(path_type=Path, dir_okay=False), help="Key to log in with.")
@click.option(
    "--known-hosts", type=click.Path(path_type=Path, dir_okay=False), help="The machines' host keys."
)
def init(
    invocation: Invocation,
    machines: tuple[str, ...],
    tls: bool,
    address: str | None,
    port: int,
    identity: Path | None,
    known_hosts: Path | None,
) -> Report:
    """Write down which machines the fleet has, and how they are connected.

    Nothing is started. By default all ports are on loopback, and SSH carries them; with --tls, the fleet gets
    a certificate authority of its own. A second init with the same machines changes nothing.
    """
    from labrun.runner.commands.fleet.describing import described, write_fleet

    folder = FleetFolder.of(invocation.state_dir)
    files = (_file(identity, "--identity"), _file(known_hosts, "--known-hosts"))
    wanted = described(folder, machines, port=port, address=address, tls=tls, files=files)
    with at_work(folder):
        changed = write_fleet(folder, wanted)
    status = Status.CHANGED if changed else Status.OK
    rows = [fleet_row(machine.name, status, wanted.worker(machine)) for machine in wanted.machines]
    return Report(None, [fleet_row("scheduler", status, wanted.scheduler), *rows])


@verb("install", group=command)
@click.option(
    "--wheel",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The wheel of labrun to install; by default built from this one.",
)
@click.option(
    "--packages",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the wheels that labrun needs, for machines without a package index.",
)
@click.option("--lab-key", is_flag=True, help="Also put the lab's private key on the machines.")
def install(invocation: Invocation, wheel: Path | None, packages: Path | None, lab_key: bool) -> Report:
    """Install this labrun on every machine, and start the scheduler and the workers.

    Each version has a folder of its own on a machine, with packages of the same versions as here. If
    everything is installed and running, nothing is changed.
    """
    from labrun.runner.commands.fleet.installing import Installation, lab_key_of
    from labrun.runner.engine.fleet.wheel import given_wheel, own_wheel

    folder = FleetFolder.of(invocation.state_dir)
    fleet = folder.required()
    require_dask(_WHAT)
    if packages is not None and not any(packages.glob("*.whl")):
        raise UsageError(f"there are no wheels in {packages}", step="--packages")
    key = lab_key_of(invocation) if lab_key else None
    with at_work(folder):
        chosen = given_wheel(wheel) if wheel is not None else own_wheel()
        rows = Installation(fleet, folder, chosen, key, packages).rows()
    notes = [f"use it with --engine {fleet.engine}"] if not any(row.exit_code for row in rows) else []
    return Report(None, rows, notes=notes, extra={"engine": fleet.engine})


@verb("status", group=command)
def status(invocation: Invocation) -> Report:
    """Show the machines, the versions that their workers have, and the shards they work on."""
    from labrun.runner.commands.fleet.looking import status_rows

    folder = FleetFolder.of(invocation.state_dir)
    fleet = folder.required()
    require_dask(_WHAT)
    rows = status_rows(fleet, folder)
    return Report(None, rows, extra={"engine": fleet.engine})


@verb("stop", group=command)
@click.option("--remove", is_flag=True, help="Also remove labrun from the machines, and the fleet's file.")
def stop(invocation: Invocation, remove: bool) -> Report:
    """End the workers and the scheduler, and remove keys and certificates from the machines.

    What is installed there stays, so that the next install is quick; --remove removes that as well, and asks
    first unless -y is given.
    """
    from labrun.runner.commands.fleet.stopping import stop_rows

    folder = FleetFolder.of(invocation.state_dir)
    fleet = folder.required()
    if remove:
        confirm(invocation, f"Remove labrun from {len(fleet.machines)} machines, and this fleet?")
    with at_work(folder):
        rows = stop_rows(fleet, folder, remove=remove)
    return Report(None, rows)


def _file(path: Path | None, option: str) -> str | None:
    if path is None:
        return None
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file", step=option)
    return str(path.resolve())
