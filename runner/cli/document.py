"""The single JSON document of a command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from labrun import __version__
from labrun.errors import LabFileError, LabrunError
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report

if TYPE_CHECKING:
    from labrun.json_values import JsonObject, JsonValue

__all__ = ["DOCTOR", "SCHEMA", "as_text", "doctor_hint", "document", "reason_of"]

SCHEMA = 1
DOCTOR = "`labrun doctor` checks this machine"
"""The hint at what looks for the reason when the machine is at fault."""


def document(report: Report, invocation: Invocation) -> JsonObject:
    """Return the JSON document; ``error`` and ``hint`` are present only if the command ended early."""
    code = report.exit_code
    content: dict[str, JsonValue] = {
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


def _failure(report: Report) -> JsonObject:
    error = report.error
    if error is None:
        return {"error": "interrupted", "hint": None} if report.interrupted else {}
    hints = (error.hint, doctor_hint(error))
    failure: dict[str, JsonValue] = {
        "error": reason_of(error),
        "hint": "; ".join(filter(None, hints)) or None,
    }
    if isinstance(error, LabFileError):
        failure["problems"] = [
            {"line": problem.line, "path": problem.path, "what": problem.what, "hint": problem.hint}
            for problem in error.problems
        ]
    return failure


def reason_of(error: LabrunError) -> str:
    """Return ``host: step: reason``, with the parts that are set."""
    return ": ".join(part for part in (error.host, error.step, error.reason) if part)


def doctor_hint(error: LabrunError) -> str | None:
    """Return where to look further, for an error that has to do with the machine and not with the lab."""
    return DOCTOR if error.is_of_machine else None


def as_text(content: JsonObject, *, one_line: bool = False) -> str:
    """Return a document as text that ends with a newline.

    ASCII only: a guest's stray byte must not make it invalid in any encoding.
    """
    return json.dumps(content, indent=None if one_line else 2, allow_nan=False) + "\n"
