"""What a command returns: its rows or its text, why it ended early, its exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from labrun.errors import LabrunError
from labrun.outcome import Outcome, exit_code

__all__ = ["INTERRUPTED", "Report"]

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
