"""The return value of a command: rows or text, why it ended early, the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from labrun.errors import LabrunError
from labrun.outcome import Outcome, exit_code

if TYPE_CHECKING:
    from labrun.json_values import JsonObject
    from labrun.runner.cli.scene import Scene

__all__ = ["INTERRUPTED", "Report"]

INTERRUPTED = 130
# 130 and 2 mean that the command did not complete; then the order is as for outcomes.
_PRECEDENCE = (2, 5, 1, 4, 3)
_NOTHING: JsonObject = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Report:
    """The findings or actions of a command.

    ``outcomes`` become the results table, unless ``text`` is given: that is printed unchanged in its place
    (an empty one prints nothing). ``extra`` holds further top-level members of the JSON document, ``notes``
    lines below the table. ``diff`` adds the outcomes' diffs below the table. ``error`` is set if the
    command ended early, ``interrupted`` if the user ended it; the outcomes so far are shown in both cases.
    With a ``scene`` they become one screen in place of a table of all rows; ``asked`` is more text that was
    asked for, shown with -q as well. ``code`` overrides the exit code. ``is_shown`` = the command has already
    shown its results, as loops do, ``is_summarised`` = it has already written them to a CI job's summary.
    """

    lab_name: str | None = None
    outcomes: Sequence[Outcome] = ()
    extra: JsonObject = field(default_factory=lambda: _NOTHING)
    text: str | None = None
    notes: Sequence[str] = ()
    diff: bool = False
    error: LabrunError | None = None
    interrupted: bool = False
    code: int | None = None
    is_shown: bool = False
    is_summarised: bool = False
    scene: Scene | None = None
    asked: str = ""

    @property
    def exit_code(self) -> int:
        """Return the command's exit code."""
        if self.code is not None:
            return self.code
        if self.interrupted:
            return INTERRUPTED
        codes = {exit_code(self.outcomes), self.error.exit_code if self.error else 0}
        return next((code for code in _PRECEDENCE if code in codes), 0)
