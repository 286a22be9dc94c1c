"""What `labrun doctor` found, for a terminal: a line each, why it matters, and what fixes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from labrun.outcome import Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.terminal import Screen, printable, screen_on
from labrun.runner.views.columns import coloured, folded
from labrun.runner.views.status_look import look
from labrun.tasks.doctor.model import Finding

__all__ = ["render"]

_SIGNS = {Status.OK: "ok", Status.WARNING: "warn", Status.FAILED: "x", Status.SKIPPED: "-"}
_SIGN_WIDTH, _LABEL_WIDTH = 6, 9
_INDENT = " " * (_SIGN_WIDTH + 2)
_COUNTED = (
    (Status.OK, "ok", "ok"),
    (Status.WARNING, "warning", "warnings"),
    (Status.FAILED, "problem", "problems"),
)


def render(findings: Sequence[Finding], stream: IO[str], invocation: Invocation) -> str:
    """Return the findings as text as wide as ``stream``, with ``-q`` only those that are not ok."""
    screen = screen_on(stream, color=invocation.color)
    shown = [
        each for each in findings if not invocation.quiet or each.status in (Status.WARNING, Status.FAILED)
    ]
    return "".join(_text(finding, screen) for finding in shown) + _summary(findings)


def _text(finding: Finding, screen: Screen) -> str:
    sign = coloured(_SIGNS[finding.status], look(finding.status).style, screen)
    padding = " " * (_SIGN_WIDTH - len(_SIGNS[finding.status]))
    first, *others = folded(printable(finding.what), screen.width - _SIGN_WIDTH)
    lines = [f"{sign}{padding}{first}", *(" " * _SIGN_WIDTH + line for line in others)]
    if finding.status in (Status.WARNING, Status.FAILED):
        width = screen.width - len(_INDENT) - _LABEL_WIDTH
        for number, line in enumerate(folded(printable(finding.matters), width) if finding.matters else []):
            lines.append(f"{_INDENT}{'matters' if number == 0 else '':<{_LABEL_WIDTH}}{line}")
        if finding.mend:
            # In one piece, however long: it is meant to be copied.
            lines.append(f"{_INDENT}{'mend':<{_LABEL_WIDTH}}{printable(finding.mend)}")
    return "".join(f"{line}\n" for line in lines)


def _summary(findings: Sequence[Finding]) -> str:
    counts = []
    for status, one, many in _COUNTED:
        count = sum(finding.status is status for finding in findings)
        if count or status is Status.OK:
            counts.append(f"{count} {one if count == 1 else many}")
    return ", ".join(counts) + "\n"
