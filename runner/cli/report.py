"""What a command hands back, and its one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from labrun import __version__
from labrun.errors import LabFileError, LabrunError
from labrun.outcome import Outcome, exit_code
from labrun.runner.cli.invocation import Invocation

__all__ = ["INTERRUPTED", "SCHEMA", "Report", "as_text", "document"]

SCHEMA = 1
INTERRUPTED = 130
# 130 and 2 say that the command did not run its course; then as for outcomes.
_PRECEDENCE = (2, 5, 1, 4, 3)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Report:
    """What a command found or did.

    ``outcomes`` become the results table, unless ``text`` is given: it is then printed as it is in
    the table's place (an empty one prints nothing). ``extra`` holds further top-level members of
    the JSON document, ``notes`` lines below the table. ``diff`` asks for the outcomes' diffs below
    the table. ``error`` is what ended the command early, ``interrupted`` says that the user did;
    the outcomes so far are shown all the same. ``code`` replaces the exit code. ``is_shown`` = the
    command has shown its results itself, as loops do.
    """

    lab_name: str | None = None
    outcomes: Sequence[Outcome] = ()
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    text: str | None = None
    notes: Sequence[str] = ()
    diff: bool = False
    error: LabrunError | None = None
    interrupted: bool = False
    code: int | None = None
    is_shown: bool = False

    @property
    def exit_code(self) -> int:
        """Return the command's exit code."""
        if self.code is not None:
            return self.code
        if self.interrupted:
            return INTERRUPTED
        codes = {exit_code(self.outcomes), self.error.exit_code if self.error else 0}
        return next((code for code in _PRECEDENCE if code in codes), 0)


def document(report: Report, invocation: Invocation) -> dict[str, Any]:
    """Return the JSON document; ``error`` and ``hint`` are there only when the command ended early."""
    code = report.exit_code
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "labrun": __version__,
        "lab": report.lab_name,
        "command": invocation.command,
        "run": invocation.run,
        "ok": code == 0,
        "exit_code": code,
        "seconds": round(invocation.seconds, 3),
        **_failure(report),
        "results": [outcome.as_json() for outcome in report.outcomes],
    }
    if clash := content.keys() & report.extra.keys():
        raise ValueError(f"extra members would replace {', '.join(sorted(clash))}")
    return {**content, **report.extra}


def _failure(report: Report) -> dict[str, Any]:
    error = report.error
    if error is None:
        return {"error": "interrupted", "hint": None} if report.interrupted else {}
    found: dict[str, Any] = {"error": reason_of(error), "hint": error.hint}
    if isinstance(error, LabFileError):
        found["problems"] = [
            {"line": problem.line, "path": problem.path, "what": problem.what, "hint": problem.hint}
            for problem in error.problems
        ]
    return found


def reason_of(error: LabrunError) -> str:
    """Return ``host: step: reason`` as far as the error knows them."""
    return ": ".join(part for part in (error.host, error.step, error.reason) if part)


def as_text(content: Mapping[str, Any], *, one_line: bool = False) -> str:
    """Return a document as text that ends with a newline.

    Only ASCII: a guest's stray byte must not make it invalid in any encoding.
    """
    return json.dumps(content, indent=None if one_line else 2, allow_nan=False) + "\n"
