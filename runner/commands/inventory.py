"""`labrun inventory`: the lab's hosts for other tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from labrun.errors import LabrunError, UsageError
from labrun.runner.cli.formats import format_of
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import is_stdout, write_output
from labrun.runner.cli.report import Report
from labrun.runner.engine.session import open_session
from labrun.runner.verb import verb

_ENDINGS = {".json": "json", ".yaml": "ansible", ".yml": "ansible", ".conf": "ssh-config"}
_FORMATS = ("nornir", "ansible", "ssh-config", "hosts", "json")


@verb("inventory", own_format=True)
@click.option(
    "--format",
    "kind",
    type=click.Choice(_FORMATS),
    help="Inventory format; by default that of FILE's ending, else json.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Write to this file; with nornir a folder, for hosts.yaml, groups.yaml and defaults.yaml.",
)
def command(invocation: Invocation, kind: str | None, output: Path | None) -> Report:
    """Write the lab's inventory for Nornir, Ansible, ssh, /etc/hosts or a script.

    Addresses come from the file, DHCP leases or guest agents; a host without one is kept and marked.
    """
    from labrun.inventory.hosts.exports import export, nornir_files

    kind = format_of(output, kind, _ENDINGS, "json")
    to_folder = kind == "nornir" and output is not None
    if output is not None and not is_stdout(output) and output.exists() and output.is_dir() != to_folder:
        what = "nornir needs a folder" if to_folder else f"{kind} needs a file, and this is a folder"
        raise UsageError(f"{output}: {what}", step="--output")
    session = open_session(invocation)
    located = session.locate()
    lab = replace(session.lab, hosts={name: session.lab.hosts[name] for name in session.hosts})
    if not to_folder or output is None:
        text = export(lab, located, session.state, kind)
        if output is None or is_stdout(output):
            return Report(lab.name, text=text)
        write_output(output, text)
        return Report(lab.name, text=f"wrote {output}\n")
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
