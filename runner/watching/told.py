"""What each listener was last told, so that it hears of every change once, and of none twice."""

from __future__ import annotations

import json
from pathlib import Path

from labrun.runner.watching.last_drift import Verdicts, verdicts_from, verdicts_json
from labrun.runner.watching.memory import write_memory
from labrun.state_files import parse_json, read_or_begin_anew

__all__ = ["read_told", "remember_told"]


def _read(path: Path) -> dict[str, Verdicts]:
    nothing: dict[str, Verdicts] = {}
    return read_or_begin_anew(path, _verdicts_in, nothing)


def _verdicts_in(data: bytes) -> dict[str, Verdicts]:
    return {str(listener): verdicts_from(content) for listener, content in parse_json(data).items()}


def read_told(path: Path, listener: str) -> Verdicts:
    """Return the verdicts that a listener knows of, nothing where it was told nothing."""
    return _read(path).get(listener, {})


def remember_told(path: Path, listener: str, verdicts: Verdicts) -> None:
    """Note what a listener knows now; that this cannot be written ends no command."""
    known = {name: verdicts_json(found) for name, found in {**_read(path), listener: verdicts}.items()}
    write_memory(path, json.dumps(known) + "\n")
