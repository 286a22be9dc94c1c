"""`labrun history`: the lab's past runs and their retention."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import click

from labrun.errors import UsageError
from labrun.inventory.duration import duration_seconds, is_duration
from labrun.moments import told
from labrun.outcome import Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import OutputFile, is_stdout, write_output
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import complete_host
from labrun.runner.commands.runs.arguments import NAME, hosts_meant
from labrun.runner.history.paths import history_path, lab_name
from labrun.runner.history.reading import History, Run, lab_history
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

__all__ = ["moment"]


_LIMIT = 20
_WIDEST = 60
"""Maximum length of a command or an error in the list. `show` has the full text."""
_BOUND = click.IntRange(min=0)


@verb("history")
@click.option(
    "--host",
    "of_hosts",
    multiple=True,
    hidden=True,
    metavar="HOST",
    shell_complete=complete_host,
    help="The former name of --hosts.",
)
@click.option("--since", metavar="WHEN", help="Only runs since then: 2h, 2d or a date.")
@click.option("--failed", is_flag=True, help="Only runs with an exit code other than 0.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help=f"Number of runs, by default {_LIMIT}."
)
@click.option(
    "--export",
    "--output",
    "-o",
    type=OutputFile(),
    metavar="FILE",
    help="Write these runs with their results as JSON Lines, - for stdout.",
)
@click.option("--keep-runs", type=_BOUND, metavar="N", help="Keep the newest N runs, 0 for all.")
@click.option("--keep-days", type=_BOUND, metavar="N", help="Keep runs for N days, 0 for ever.")
@NAME
def command(
    invocation: Invocation,
    of_hosts: tuple[str, ...],
    since: str | None,
    failed: bool,
    limit: int | None,
    export: Path | None,
    keep_runs: int | None,
    keep_days: int | None,
    name: str | None,
) -> Report:
    """List the lab's past runs, newest first.

    Needs no hypervisor and no host. `labrun show RUN` shows one of them in full.
    """
    begin = moment(since, option="--since") if since is not None else None
    lab = lab_name(invocation, name)
    if keep_runs is not None or keep_days is not None:
        return _keep(invocation, lab, keep_runs, keep_days)
    history = lab_history(invocation, lab)
    bound = limit if export is not None else (limit or _LIMIT) + 1
    hosts = [*of_hosts, *hosts_meant(invocation)]
    runs = history.runs(hosts=hosts, since=begin, failed=failed, limit=bound) if history else []
    if export is not None:
        return _export(invocation, lab, history, runs[::-1], export)
    return _listed(invocation, lab, runs, limit or _LIMIT)


def _listed(invocation: Invocation, lab: str, newest: Sequence[Run], limit: int) -> Report:
    runs, more = newest[:limit], len(newest) > limit
    text = None if invocation.json else _table(runs, invocation)
    notes = [f"There are more: --limit {limit * 5} shows {limit * 5}."] if more else []
    extra: JsonObject = {"runs": [run.as_json() for run in runs], "more": more}
    return Report(lab, extra=extra, text=text, notes=[] if invocation.json else notes)


def _table(runs: Sequence[Run], invocation: Invocation) -> str:
    from labrun.runner.views.columns import listing

    if not runs:
        return "no runs\n"
    columns = ("run", "began", "command", "exit", "s", "results", "lab file")
    letters = Counter(run.run.rpartition("-")[2] for run in runs)
    lines = [
        (
            # The last four characters are enough for the other commands, unless two runs have the same.
            run.run if letters[run.run.rpartition("-")[2]] > 1 else run.run.rpartition("-")[2],
            told(run.began),
            shorten(f"{run.command} {run.arguments}", _WIDEST, placeholder=" ..."),
            "-" if run.exit_code is None else str(run.exit_code),
            "-" if run.seconds is None else f"{run.seconds:.1f}",
            counted(run),
            (run.digest or "-")[:7],
        )
        for run in runs
    ]
    unfolded = {"run", "began", "exit", "s", "lab file"}
    return listing(columns, lines, color=invocation.color, whole=unfolded)


def counted(run: Run) -> str:
    """Return ``23 ok, 1 failed``, or the state of a run without results."""
    words = [f"{run.counts[status]} {status.value}" for status in Status if status in run.counts]
    if run.state != "finished":
        words.insert(0, run.state)
    elif run.error is not None:
        words.append(shorten(run.error, _WIDEST, placeholder=" ..."))
    return ", ".join(words) or "-"


def _export(
    invocation: Invocation, lab: str, history: History | None, runs: Sequence[Run], path: Path
) -> Report:
    lines = _lines(history, runs) if history else iter(())
    if is_stdout(path):
        return Report(lab, text="".join(lines))
    write_output(path, lines)
    extra = {"exported": len(runs)}
    return Report(lab, extra=extra, text=f"wrote {len(runs)} run{'s' if len(runs) != 1 else ''} to {path}\n")


def _lines(history: History, runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        content = {**run.as_json(), "results": [row.as_json() for row in history.outcomes(run)]}
        yield json.dumps(content) + "\n"


def _keep(invocation: Invocation, lab: str, runs: int | None, days: int | None) -> Report:
    from labrun.runner.history.store import open_to_write, unreadable
    from labrun.runner.history.writing import keep, kept

    path = history_path(invocation, lab)
    try:
        with contextlib.closing(open_to_write(path)) as connection:
            pruned = keep(connection, runs=runs, days=days)
            bounds = kept(connection)
    except (sqlite3.Error, OSError) as error:
        raise unreadable(path, error, "written") from error
    retention = " and ".join(
        f"{number} {unit}" for number, unit in zip(bounds, ("runs", "days"), strict=True) if number
    )
    extra = {"keep_runs": bounds[0], "keep_days": bounds[1], "removed": pruned}
    return Report(
        lab,
        extra=extra,
        text=f"keeps {retention or 'everything'}; {pruned} run{'' if pruned == 1 else 's'} removed\n",
    )


def moment(text: str, *, option: str, now: float | None = None) -> float:
    """Return seconds since the epoch for ``2h``, ``2d`` or an ISO date or time (local by default).

    Raises UsageError that names the option.
    """
    if is_duration(text):
        return (time.time() if now is None else now) - duration_seconds(text)
    try:
        # Without a zone it is local, as the times that are shown.
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f'"{text}" is not a time', step=option, hint="2h, 2d or 2026-11-25T16:00, for instance"
        ) from None
