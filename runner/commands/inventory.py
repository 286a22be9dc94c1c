"""`labrun inventory`: the lab's hosts for other tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from labrun.errors import LabrunError, UsageError
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import is_stdout, write_output
from labrun.runner.cli.report import Report
from labrun.runner.engine.session import open_session
from labrun.runner.verb import verb

_FORMATS = ("nornir", "ansible", "ssh-config", "hosts", "json")


@verb("inventory", own_format=True)
@click.option("--format", "kind", type=click.Choice(_FORMATS), default="json", help="Inventory format.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, allow_dash=True, path_type=Path),
    metavar="DIR",
    help="With --format nornir: write hosts.yaml, groups.yaml and defaults.yaml to this folder.",
)
def command(invocation: Invocation, kind: str, output: Path | None) -> Report:
    """Write the lab's inventory for Nornir, Ansible, ssh, /etc/hosts or a script.

    Addresses come from the file, DHCP leases or guest agents; a host without one is kept and marked.
    """
    from labrun.inventory.hosts.exports import export, nornir_files

    if output is not None and kind != "nornir":
        raise UsageError("--output needs --format nornir", step="inventory")
    session = open_session(invocation)
    located = session.locate()
    lab = replace(session.lab, hosts={name: session.lab.hosts[name] for name in session.hosts})
    if output is None:
        return Report(lab.name, text=export(lab, located, session.state, kind))
    files = nornir_files(lab, located, session.state)
    if is_stdout(output):
        return Report(lab.name, text="".join(f"# {name}\n{text}" for name, text in files.items()))
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabrunError(f"cannot write {error.filename}: {error.strerror}") from error
    for name, text in files.items():
        write_output(output / name, text)
    return Report(session.lab.name, text=f"wrote hosts.yaml, groups.yaml and defaults.yaml to {output}\n")
