"""What each listener was last told, so that it hears of every change once, and of none twice."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from labrun.runner.last_drift import Verdicts, verdicts_from, verdicts_json
from labrun.state import LabState, write_private

__all__ = ["read_told", "remember_told"]


def _read(state: LabState) -> dict[str, Any]:
    try:
        found = json.loads(state.told.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_told(state: LabState, listener: str) -> Verdicts:
    """Return the verdicts that a listener knows of, nothing where it was told nothing."""
    try:
        return verdicts_from(_read(state).get(listener, []))
    except (ValueError, TypeError):
        return {}


def remember_told(state: LabState, listener: str, verdicts: Verdicts) -> None:
    """Note what a listener knows now; that this cannot be written ends no command."""
    known = {**_read(state), listener: verdicts_json(verdicts)}
    with contextlib.suppress(OSError):
        write_private(state.told, json.dumps(known) + "\n")
