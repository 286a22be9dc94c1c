"""``labrun mcp``: serve the lab to one client, on standard input and output."""

from __future__ import annotations

from importlib.util import find_spec

import click

from labrun.errors import UsageError
from labrun.libvirt_package import how_to_install_extra
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb

__all__ = ["command"]


@verb("mcp", own_format=True)
@click.option("--allow-write", is_flag=True, help="Also offer `up`, `configure` and `drift --fix`.")
def command(invocation: Invocation, allow_write: bool) -> Report:
    """Serve the lab to a program that speaks the Model Context Protocol, until it closes the input.

    It can read the lab's status, results and history. With --allow-write it can also bring the lab up,
    configure it and correct drift; hosts roll back by themselves as always, and nothing is removed.
    """
    if invocation.lab == "-":
        raise UsageError("mcp needs standard input for itself", hint="name a lab file with --lab FILE")
    if find_spec("mcp") is None:
        raise UsageError("this needs the MCP SDK, which is not installed", hint=how_to_install_extra("mcp"))
    from labrun.runner.commands.mcp.server import serve

    serve(invocation, allow_write=allow_write)
    return Report(is_shown=True, code=0)
