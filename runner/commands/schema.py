"""``labrun schema``: the JSON Schema of lab.yaml, for editors."""

from __future__ import annotations

import json

from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb

__all__ = ["command"]


@verb("schema")
def command(invocation: Invocation) -> Report:
    """Print the JSON Schema of the lab file.

    Keep it beside lab.yaml and name it in the file's first line, so that editors complete and
    check: "# yaml-language-server: $schema=lab.schema.json". With --json it is the member
    "json_schema" of the usual document.
    """
    from labrun.inventory.file.load import json_schema

    schema = json_schema()
    return Report(text=json.dumps(schema, indent=2), extra={"json_schema": schema})
