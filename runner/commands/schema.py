"""``labrun schema``: the JSON Schema of lab.yaml, for editors."""

from __future__ import annotations

import json
from pathlib import Path

import click

from labrun.runner.cli.formats import format_of
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import OutputFile, is_stdout, write_output
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb

__all__ = ["command"]


@verb("schema")
@click.option(
    "--output", "-o", type=OutputFile(), metavar="FILE", help="Write to this file instead of stdout."
)
def command(invocation: Invocation, output: Path | None) -> Report:
    """Print the JSON Schema of the lab file.

    Keep it beside lab.yaml and name it in the file's first line, so that editors complete and
    check: "# yaml-language-server: $schema=lab.schema.json". With --json it is the member
    "json_schema" of the usual document.
    """
    from labrun.inventory.file.load import json_schema

    format_of(output, None, {".json": "json"}, "json", option=False)
    schema = json_schema()
    text = json.dumps(schema, indent=2) + "\n"
    if output is None or is_stdout(output):
        return Report(text=text, extra={"json_schema": schema})
    write_output(output, text)
    return Report(text=f"wrote {output}\n", extra={"json_schema": schema})
