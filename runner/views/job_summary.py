"""The job summary of GitHub Actions, written where the runner asks for one by ``GITHUB_STEP_SUMMARY``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from labrun.errors import LabrunError
from labrun.outcome import HYPERVISOR
from labrun.runner.cli.document import reason_of
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import write_output
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import say

__all__ = ["SUMMARISED", "add_job_summary", "step_summary"]

SUMMARISED: Final = ("up", "configure", "verify", "drift")
"""The commands with a job summary: those that a job is run for."""


def step_summary(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of the step's summary, None outside a job."""
    path = environ.get("GITHUB_STEP_SUMMARY")
    return Path(path) if path else None


def add_job_summary(report: Report, invocation: Invocation) -> None:
    """Add a run to the step's summary, unless there is none or the command has written it itself.

    That it cannot be written is said, and changes nothing else: the results are shown all the same.
    """
    path = step_summary()
    if path is None or report.is_summarised or report.is_shown or report.text is not None:
        return
    from labrun.runner.views.markdown import markdown

    hosts = list(dict.fromkeys(row.host for row in report.outcomes if row.host != HYPERVISOR))
    text = markdown(
        report.lab_name or "",
        invocation.command,
        hosts,
        report.outcomes,
        invocation.seconds,
        ok=report.exit_code == 0,
        error=reason_of(report.error) if report.error else "",
        existing=report.scene.existing if report.scene is not None else (),
    )
    try:
        write_output(path, text, append=True)
    except LabrunError as error:
        say(f"the job summary was not written: {error.reason}")
