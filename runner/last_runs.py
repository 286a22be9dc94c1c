"""The last run of each command on a lab, for `status`: remembered, and decides nothing."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from labrun.runner.options import Invocation
from labrun.state import LabState, write_private

__all__ = ["read_last_runs", "remember_run"]


def read_last_runs(state: LabState) -> dict[str, Any]:
    """Return ``{command: {"run": ID, "exit_code": N, "seconds": S}}``, empty where nothing is known."""
    try:
        found = json.loads(state.last_runs.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember_run(state: LabState, invocation: Invocation, exit_code: int) -> None:
    """Note that a command ran; that this cannot be written ends no command."""
    known = read_last_runs(state)
    known[invocation.command] = {
        "run": invocation.run,
        "exit_code": exit_code,
        "seconds": round(invocation.seconds, 1),
    }
    with contextlib.suppress(OSError):
        write_private(state.last_runs, json.dumps(known, indent=1) + "\n")
