"""The report's history: the data on past runs for its template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labrun.inventory.drawing.diagram import Health
from labrun.outcome import Status
from labrun.runner.cli.terminal import printable
from labrun.runner.history.reading import Run

__all__ = ["MARKS", "RUNS", "strips", "table"]

RUNS = 60
"""Maximum number of runs read, and of cells in a strip."""

_ROWS = 20
_COMPARING = ("verify", "drift")
_OF_EXIT_CODE = {0: Health.OK, 3: Health.IMPAIRED, 4: Health.UNREACHABLE}
MARKS = {
    Health.OK: ("✓", "ok"),
    Health.IMPAIRED: ("~", "warnings or drift"),
    Health.UNREACHABLE: ("!", "unreachable"),
    Health.FAILED: ("X", "failed"),
    Health.UNKNOWN: (".", "not finished"),
}
"""By the result of a run: its mark in a strip and its meaning. The matrix uses none of them differently."""


def rated_run(run: Run) -> Health:
    """Return a run's result as a colour, from its exit code and its warnings."""
    if run.exit_code is None or run.interrupted:
        return Health.UNKNOWN
    if run.exit_code == 0 and run.counts.get(Status.WARNING.value):
        return Health.IMPAIRED
    return _OF_EXIT_CODE.get(run.exit_code, Health.FAILED)


def strips(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the runs of each comparing command as cells, oldest first; ``runs`` is newest first."""
    found = []
    for command in _COMPARING:
        mine = [run for run in runs if run.command == command]
        if mine:
            found.append({"command": command, "cells": [_cell(run) for run in reversed(mine)]})
    return found


def _cell(run: Run) -> dict[str, str]:
    health = rated_run(run)
    said = f"{run.when}: {MARKS[health][1]}, {_results(run)}"
    return {"mark": MARKS[health][0], "health": health.value, "said": said}


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the newest runs as rows; ``changed`` if the lab file differs from that of the previous run."""
    older = [*runs[1:], None]
    return [
        {
            "when": run.when,
            "run": run.run,
            "command": printable(f"{run.command} {run.arguments}".rstrip()),
            "state": run.state if run.exit_code is None else f"exit code {run.exit_code}",
            "health": rated_run(run).value,
            "results": _results(run),
            "seconds": "" if run.seconds is None else f"{run.seconds:.1f} s",
            "changed": before is not None and _is_other_file(run, before),
        }
        for run, before in zip(runs[:_ROWS], older, strict=False)
    ]


def _is_other_file(run: Run, before: Run) -> bool:
    return None not in (run.digest, before.digest) and run.digest != before.digest


def _results(run: Run) -> str:
    counts = [f"{run.counts[status]} {status.value}" for status in Status if status in run.counts]
    return ", ".join(counts) or (printable(run.error) if run.error else "no results")
