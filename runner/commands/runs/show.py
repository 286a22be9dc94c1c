"""`labrun show RUN`: one past run in full."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from labrun.errors import LabrunError
from labrun.moments import told
from labrun.outcome import Outcome
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.commands.runs.arguments import (
    NAME,
    RunsCommand,
    complete_run,
    history_of,
    hosts_meant,
    only_of,
)
from labrun.runner.history.endings import ended
from labrun.runner.history.reading import Run
from labrun.runner.verb import verb


@verb("show", kind=RunsCommand)
@click.argument("run", shell_complete=complete_run)
@click.option("--evidence", is_flag=True, help="Show the hosts' raw output instead of the results.")
@click.option("--diff", is_flag=True, help="Also show the results' diffs.")
@NAME
def command(invocation: Invocation, run: str, evidence: bool, diff: bool, name: str | None) -> Report:
    """Show a past run with all its results.

    RUN is a run's ID, its beginning or its last four characters; `last` or -1 for the newest run, -2 for
    the one before; a command's name for its newest run, `verify-1` for the one before. With --hosts, only
    their rows are shown.
    """
    history = history_of(invocation, name)
    past, hosts = history.find(run), hosts_meant(invocation)
    if evidence:
        return _evidence(past, history.evidence(past), hosts)
    (rows,) = only_of(hosts, history.outcomes(past))
    extra = {"shown": {**past.as_json(), "results": [row.as_json() for row in rows]}}
    text = ""
    if not invocation.json:
        text = _head(past, _file_now(invocation, name)) + _body(past, rows, invocation, diff=diff)
    return Report(past.lab, text=text, extra=extra)


def _evidence(run: Run, evidence: Mapping[str, str], hosts: Sequence[str]) -> Report:
    by_host = {host: text for host, text in evidence.items() if not hosts or host in hosts}
    if not by_host:
        hint = "`verify` keeps it, for its newest runs"
        raise LabrunError(f"of {run.run} no host output is kept", hint=hint)
    text = "".join(f"# {host}\n{_ended(_printable(text))}\n" for host, text in by_host.items())
    return Report(run.lab, text=text, extra={"shown": run.as_json(), "evidence": by_host})


def _printable(text: str) -> str:
    from labrun.runner.cli.terminal import printable

    return printable(text)


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _file_now(invocation: Invocation, name: str | None) -> str | None:
    """Return the current SHA-256 of the lab file, None if none is read."""
    from labrun.inventory.file.source import LARGEST
    from labrun.regular_files import read_regular
    from labrun.runner.cli.lab_file import lab_path

    if name is not None or invocation.lab == "-":
        return None
    try:
        return hashlib.sha256(read_regular(Path(lab_path(invocation.lab)), LARGEST)).hexdigest()
    except OSError:
        return None


def _head(run: Run, file_now: str | None) -> str:
    took = "" if run.seconds is None else f", took {run.seconds:.1f} s"
    file = "none" if run.digest is None else run.digest[:12]
    if run.digest is not None and file_now is not None:
        file += ", as it is now" if run.digest == file_now else ", changed since"
    code = "" if run.exit_code is None else f", exit code {run.exit_code}"
    facts = {
        "run": run.run,
        "command": f"labrun {run.command} {run.arguments}".rstrip(),
        "began": f"{told(run.began)}{took}",
        "ended": f"{ended(run)}{code}",
        "error": run.error,
        "lab file": file,
        "labrun": ", ".join([run.labrun, *(f"{name} {number}" for name, number in run.versions.items())]),
        "on": run.uri,
    }
    return "".join(f"{name:<9} {_printable(value)}\n" for name, value in facts.items() if value)


def _body(run: Run, rows: Sequence[Outcome], invocation: Invocation, *, diff: bool) -> str:
    from labrun.runner.views.table import render

    if not rows:
        return ""
    return "\n" + render(
        rows,
        stream=sys.stdout,
        color=invocation.color,
        quiet=invocation.quiet,
        diff=diff,
        seconds=run.seconds or 0.0,
        every_row=invocation.verbosity > 0,
    )
