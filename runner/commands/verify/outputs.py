"""Additional outputs of `verify`: JUnit XML, a job summary, a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from labrun.errors import LabrunError
from labrun.inventory.model import Lab
from labrun.outcome import Outcome
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import OutputFile, is_stdout, write_output
from labrun.runner.cli.report import Report
from labrun.runner.views.job_summary import step_summary

__all__ = ["output_options", "with_outputs"]

Body = Callable[..., Any]
_FILE = OutputFile()


def output_options(body: Body) -> Body:
    """Add ``--junit``, ``--markdown`` and ``--matrix`` to a command."""
    for option in (
        click.option("--matrix", is_flag=True, help="Show a reachability matrix below the table."),
        click.option(
            "--markdown",
            type=_FILE,
            metavar="FILE",
            help="Write a job summary as Markdown, - for stdout.",
        ),
        click.option(
            "--junit", type=_FILE, metavar="FILE", help="Write the results as JUnit XML, - for stdout."
        ),
    ):
        body = option(body)
    return body


def with_outputs(
    report: Report,
    lab: Lab,
    invocation: Invocation,
    *,
    junit: Path | None,
    markdown: Path | None,
    matrix: bool,
) -> Report:
    """Write the requested outputs. Return the report with the matrix and with any write errors."""
    rows = tuple(report.outcomes)
    if matrix:
        report = _with_matrix(report, lab, rows)
    try:
        if junit is not None:
            from labrun.runner.views.junit import junit as as_junit

            text = as_junit(lab.name, invocation.command, invocation.run, rows, invocation.seconds)
            report = _written(report, junit, text)
        if markdown is not None:
            report = _with_markdown(markdown, lab, invocation, report)
    except LabrunError as error:
        return replace(report, error=error)
    return report


def _with_matrix(report: Report, lab: Lab, rows: Sequence[Outcome]) -> Report:
    from labrun.runner.views.matrix import as_json, matrices, text

    tables = matrices(list(lab.hosts), rows)
    asked = text(tables)
    if report.scene is None or report.text is not None:
        report = replace(report, notes=[*report.notes, "", asked.rstrip("\n")])
    return replace(report, asked=asked, extra={**report.extra, "matrix": as_json(tables)})


def _with_markdown(path: Path, lab: Lab, invocation: Invocation, report: Report) -> Report:
    from labrun.runner.views.markdown import markdown

    ok = report.exit_code == 0
    text = markdown(
        lab.name,
        invocation.command,
        list(lab.hosts),
        report.outcomes,
        invocation.seconds,
        ok=ok,
        existing=[name for name, host in lab.hosts.items() if host.machine is None],
    )
    is_summary = path == step_summary()
    return replace(_written(report, path, text, append=is_summary), is_summarised=is_summary)


def _written(report: Report, path: Path, text: str, *, append: bool = False) -> Report:
    """Write an output and return the report. Output to stdout replaces the table."""
    if is_stdout(path):
        return replace(report, text=text, notes=())
    write_output(path, text, append=append)
    return report
