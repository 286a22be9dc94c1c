"""What a command's report becomes: a document or a screen on stdout, the error and its hints on stderr."""

from __future__ import annotations

import sys
import traceback

from labrun.errors import HypervisorError, LabFileError, LabrunError
from labrun.runner.cli.document import DOCTOR, as_text, doctor_hint, document, reason_of
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import printable, say, screen_on, write

__all__ = ["emit", "show_error"]


def emit(report: Report, invocation: Invocation, *, one_line: bool = False) -> int:
    """Show a report as table or JSON document, its error on stderr, and return its exit code.

    ``one_line`` is for loops, which print one document per line.
    """
    if report.is_shown:
        return report.exit_code
    if invocation.json:
        write(as_text(document(report, invocation), one_line=one_line))
    elif invocation.format == "github":
        from labrun.runner.views.github import places_of, shielded, workflow_commands

        write(shielded(_shown(report, invocation)))
        write(workflow_commands(report, invocation.command, places_of(invocation)))
    else:
        write(_shown(report, invocation))
    if report.error is not None:
        show_error(report.error, invocation)
    elif report.interrupted:
        say("interrupted")
    return report.exit_code


def _shown(report: Report, invocation: Invocation) -> str:
    """Return what a person reads: the report's text or its table, then its notes."""
    parts = []
    if report.text is not None:
        parts.append(report.text if report.text.endswith("\n") or not report.text else report.text + "\n")
    elif report.outcomes and report.scene is not None:
        from labrun.runner.views.shown import shown

        parts.append(
            shown(
                report.scene,
                report.outcomes,
                stream=sys.stdout,
                color=invocation.color,
                verbosity=invocation.verbosity,
                diff=report.diff,
                asked=report.asked,
                notes=report.notes,
                seconds=invocation.seconds,
                command=invocation.command,
            )
        )
    elif report.outcomes:
        from labrun.runner.views.table import render

        parts.append(
            render(
                report.outcomes,
                stream=sys.stdout,
                color=invocation.color,
                quiet=invocation.quiet,
                diff=report.diff,
                seconds=invocation.seconds,
                every_row=invocation.verbosity > 0,
            )
        )
    if invocation.command != "doctor" and any(
        row.exit_code == HypervisorError.exit_code for row in report.outcomes
    ):
        parts.append(f"{DOCTOR}\n")
    if report.notes and not invocation.quiet and (report.scene is None or not report.outcomes):
        parts.append("".join(f"{printable(note)}\n" for note in report.notes))
    return "".join(parts)


def show_error(error: LabrunError, invocation: Invocation) -> None:
    """Write reason and hint to stderr, with ``-vv`` preceded by the traceback."""
    if invocation.verbosity >= 2:
        say("".join(traceback.format_exception(error)))
    if isinstance(error, LabFileError):
        from labrun.inventory.file.excerpts import excerpts

        # One line per problem, in a format that editors can jump to, and below it where it is.
        width = screen_on(sys.stderr, color=False).width if sys.stderr is not None else 80
        shown = excerpts(error.text, error.problems, width)
        for problem, excerpt in zip(error.problems, shown, strict=True):
            say(problem.render(error.source) + (f"\n{excerpt}" if excerpt else ""))
        count = len(error.problems)
        say(f"error: {error.source} has {count} problem{'s' if count != 1 else ''}")
    else:
        say(f"error: {reason_of(error)}")
    for hint in (error.hint, doctor_hint(error)):
        if hint:
            say(f"hint: {hint}")
