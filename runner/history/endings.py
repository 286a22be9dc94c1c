"""How a past run ended, in words."""

from __future__ import annotations

from typing import Final

from labrun.runner.history.reading import Run

__all__ = ["ended"]

_WORDS: Final = {
    0: "ok",
    1: "failed",
    2: "refused",
    3: "differs",
    4: "unreachable",
    5: "hypervisor failed",
}


def ended(run: Run) -> str:
    """Return how a run ended: ``failed``, ``interrupted``, ``running`` ...; a code unknown here as number."""
    if run.exit_code is None or run.interrupted:
        return run.state
    return _WORDS.get(run.exit_code) or f"exit code {run.exit_code}"
