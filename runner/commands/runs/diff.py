"""`labrun diff RUN RUN`: the changes from one run to another."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from labrun.outcome import Outcome
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.commands.runs.arguments import (
    NAME,
    RunsCommand,
    complete_run,
    history_of,
    hosts_meant,
    only_of,
)
from labrun.runner.history.changes import Change, Comparison, compare
from labrun.runner.history.endings import ended
from labrun.runner.history.reading import Run
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.json_values import JsonObject


@verb("diff", kind=RunsCommand)
@click.argument("before", metavar="RUN", shell_complete=complete_run)
@click.argument("after", metavar="RUN", shell_complete=complete_run)
@NAME
def command(invocation: Invocation, before: str, after: str, name: str | None) -> Report:
    """Show what changed between two runs: results, observations, reasons and the lab file.

    RUN as in `labrun show`. Exit code 0, whatever differs. With --hosts, only their rows are shown.
    """
    history = history_of(invocation, name)
    runs = (history.find(before), history.find(after))
    left, right = only_of(hosts_meant(invocation), *(history.outcomes(run) for run in runs))
    comparison = compare(left, right, alike=runs[0].command == runs[1].command)
    extra: JsonObject = {
        "runs": [run.as_json() for run in runs],
        "lab_file_changed": _is_other_file(*runs),
        "changes": [change.as_json() for change in comparison.changes],
        "same": comparison.same,
        "only": [list(words) for words in comparison.only],
    }
    return Report(runs[0].lab, extra=extra, text=_text(*runs, comparison, _painted(invocation)))


def _is_other_file(before: Run, after: Run) -> bool:
    return before.digest is not None and after.digest is not None and before.digest != after.digest


def _painted(invocation: Invocation) -> bool:
    return invocation.color and sys.stdout is not None and sys.stdout.isatty()


def _text(before: Run, after: Run, comparison: Comparison, painted: bool) -> str:
    lines = [
        _paint(f"--- {_named(before)}", "red", painted),
        _paint(f"+++ {_named(after)}", "green", painted),
    ]
    if _is_other_file(before, after):
        lines.append("The lab file changed between the two runs.")
    for run, words in zip((before, after), comparison.only, strict=True):
        if words:
            lines.append(f"Not compared, only in {run.run}: {', '.join(words)}")
    lines.append("")
    for change in _in_order(comparison):
        lines += _change(change, painted)
    lines.append(_summary(comparison))
    return "".join(f"{line}\n" for line in lines)


def _named(run: Run) -> str:
    return f"{run.run}  {f'{run.command} {run.arguments}'.rstrip()}, {ended(run)}"


def _in_order(comparison: Comparison) -> list[Change]:
    from labrun.runner.views.table import order

    rank = {id(row): place for place, row in enumerate(order([change.row for change in comparison.changes]))}
    return sorted(comparison.changes, key=lambda change: rank[id(change.row)])


def _change(change: Change, painted: bool) -> Iterator[str]:
    from labrun.runner.views.table import subject

    row = change.row
    word = "" if change.kind == "changed" else f" ({change.kind})"
    yield _paint(f"{row.host}: {subject(row)}{word}", None, painted)
    before, after = change.before, change.after
    # What was expected is worth a line if it differs, or if there is nothing to compare it with.
    with_expected = before is None or after is None or before.expected != after.expected
    for sign, side, colour in (("-", before, "red"), ("+", after, "green")):
        if side is not None:
            yield from (
                _paint(f"  {sign} {line}", colour, painted) for line in _result_lines(side, with_expected)
            )
    yield ""


def _result_lines(row: Outcome, expected: bool) -> list[str]:
    """Return a run's result for an item: status and observed value, then the reason."""
    got = [row.actual] if row.actual else []
    got += [f"(expected {row.expected})"] if expected and row.expected else []
    first = " ".join([f"{row.status.value:<11}", *got]).rstrip()
    return [*first.splitlines(), *(f"  {line}" for line in (row.why or "").splitlines())]


def _summary(comparison: Comparison) -> str:
    counts = Counter(change.kind for change in comparison.changes)
    words = [f"{counts[kind]} {kind}" for kind in ("changed", "new", "gone") if counts[kind]]
    return ", ".join([*words, f"{comparison.same} the same"])


def _paint(text: str, colour: str | None, painted: bool) -> str:
    from labrun.runner.cli.terminal import printable

    clean = printable(text)
    return click.style(clean, fg=colour, bold=colour is None) if painted else clean
