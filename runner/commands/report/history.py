"""The report's history: the data on past runs for its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labrun.inventory.drawing.diagram import Health
from labrun.moments import dated
from labrun.outcome import Status
from labrun.runner.cli.terminal import printable
from labrun.runner.history.endings import ended
from labrun.runner.history.reading import Run

__all__ = ["MARKS", "RUNS", "RunRow", "Strip", "StripCell", "strips", "table"]

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


@dataclass(frozen=True, slots=True)
class StripCell:
    """One run in a strip: its mark, the colour's CSS class, and a title."""

    mark: str
    health: str
    title: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The runs of one command, oldest first."""

    command: str
    cells: tuple[StripCell, ...]


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run in the table, as text; ``changed`` if the lab file differs from that of the previous run."""

    when: str
    run: str
    command: str
    state: str
    health: str
    results: str
    seconds: str
    changed: bool


def strips(runs: Sequence[Run]) -> list[Strip]:
    """Return a strip for each comparing command that has runs; ``runs`` is newest first."""
    by_command = {command: [run for run in runs if run.command == command] for command in _COMPARING}
    return [
        Strip(command, tuple(_cell(run) for run in reversed(its_runs)))
        for command, its_runs in by_command.items()
        if its_runs
    ]


def _cell(run: Run) -> StripCell:
    health = rated_run(run)
    mark, meaning = MARKS[health]
    return StripCell(mark, health.value, f"{dated(run.began)}: {meaning}, {_results(run)}")


def table(runs: Sequence[Run]) -> list[RunRow]:
    """Return the newest runs as rows."""
    older = [*runs[1:], None]
    return [
        RunRow(
            when=dated(run.began),
            run=run.run,
            command=printable(f"{run.command} {run.arguments}".rstrip()),
            state=ended(run),
            health=rated_run(run).value,
            results=_results(run),
            seconds="" if run.seconds is None else f"{run.seconds:.1f} s",
            changed=before is not None and _is_other_file(run, before),
        )
        for run, before in zip(runs[:_ROWS], older, strict=False)
    ]


def _is_other_file(run: Run, before: Run) -> bool:
    return None not in (run.digest, before.digest) and run.digest != before.digest


def _results(run: Run) -> str:
    counts = [f"{run.counts[status]} {status.value}" for status in Status if status in run.counts]
    return ", ".join(counts) or (printable(run.error) if run.error else "no results")
