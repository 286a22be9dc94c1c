"""What each listener was last told, so that it hears of every change once, and of none twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labrun.runner.drift_memory import write_memory
from labrun.runner.last_drift import Verdicts, verdicts_from, verdicts_json

__all__ = ["read_told", "remember_told"]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_told(path: Path, listener: str) -> Verdicts:
    """Return the verdicts that a listener knows of, nothing where it was told nothing."""
    try:
        return verdicts_from(_read(path).get(listener, []))
    except (ValueError, TypeError):
        return {}


def remember_told(path: Path, listener: str, verdicts: Verdicts) -> None:
    """Note what a listener knows now; that this cannot be written ends no command."""
    known = {**_read(path), listener: verdicts_json(verdicts)}
    write_memory(path, json.dumps(known) + "\n")
