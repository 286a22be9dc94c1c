"""`labrun verify --hint`: the effects of a fault, and one more hint per call, but not its location."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from labrun.errors import LabrunError
from labrun.outcome import Outcome, exit_code
from labrun.runner.cli.report import Report
from labrun.runner.commands.faults.fault_state import Planted, recall, remember
from labrun.state import LabState
from labrun.tasks.state.sections import Scope, section_of

__all__ = ["require_planted", "with_hint"]


def require_planted(state: LabState) -> Planted:
    """Return the planted fault. Raises LabrunError if there is none."""
    planted = recall(state)
    if planted is None:
        raise LabrunError(
            "no fault is planted: there is nothing to hint at", hint="`labrun break` plants one"
        )
    return planted


def with_hint(lab_name: str, rows: Sequence[Outcome], state: LabState) -> Report:
    """Return the failing paths and checks, without reasons, and the hints so far plus one more."""
    planted = require_planted(state).next_hint()
    remember(state, planted)
    between = [row for row in rows if section_of(row.section).scope is Scope.PATH]
    symptoms = [replace(row, why=None) for row in between if row.exit_code]
    hints = planted.hints[: planted.given]
    notes = [f"hint {number} of {len(planted.hints)}: {text}" for number, text in enumerate(hints, 1)]
    if not symptoms:
        notes.insert(0, "No path or check fails: the fault is elsewhere.")
    return Report(lab_name, symptoms, extra={"hints": list(hints)}, notes=notes, code=exit_code(rows))
