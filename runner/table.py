"""The results table: what went wrong first, every reason in full."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from labrun.outcome import Outcome, Status
from labrun.runner.terminal import console_on, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["order", "render", "subject", "summary"]

_RANK = {
    Status.FAILED: 0,
    Status.ROLLED_BACK: 0,
    Status.UNREACHABLE: 1,
    Status.UNKNOWN: 1,
    Status.CONFLICT: 2,
    Status.DRIFTED: 2,
    Status.PENDING: 2,
    Status.WOULD_CHANGE: 2,
    Status.WARNING: 3,
    Status.CHANGED: 4,
    Status.SKIPPED: 5,
    Status.OK: 6,
}
_STYLE = {0: "bold red", 1: "magenta", 2: "yellow", 3: "yellow", 4: "cyan", 5: "dim", 6: "green"}


def order(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the rows failing first, then unreachable, changes and ok; otherwise as they came."""
    return sorted(outcomes, key=lambda outcome: _RANK[outcome.status])


def subject(outcome: Outcome) -> str:
    """Return what a row is about: ``path host01 -> host03``, or just ``machine``."""
    named = outcome.name and outcome.name not in (outcome.section, outcome.host)
    return f"{outcome.section} {outcome.name}" if named else outcome.section


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return ``23 ok, 1 failed in 3.2 s``."""
    counts = Counter(outcome.status for outcome in outcomes)
    parts = [f"{counts[status]} {status.value}" for status in Status if counts[status]]
    return f"{', '.join(parts) or 'nothing to report'} in {seconds:.1f} s"


def render(
    outcomes: Sequence[Outcome],
    *,
    stream: IO[str],
    color: bool = True,
    quiet: bool = False,
    diff: bool = False,
    seconds: float = 0.0,
    width: int | None = None,
) -> str:
    """Return table, diffs and summary as they look on ``stream``, its width and colours included.

    ``quiet`` keeps only the rows that are not ok, and says nothing where there are none. ``diff``
    adds the rows' diffs below the table.
    """
    from rich.text import Text

    rows = [row for row in order(outcomes) if not (quiet and row.status is Status.OK)]
    if quiet and not rows:
        return ""
    # Printed into a buffer: whoever writes it to the stream has to cope with a reader that went away.
    console = console_on(stream, color=color, width=width)
    console.width, buffer = console.width, io.StringIO()
    console.file = buffer
    if rows:
        _print_table(console, rows)
    if diff:
        for row in rows:
            if row.diff:
                _print_diff(console, row)
    worst = min((_RANK[outcome.status] for outcome in outcomes), default=6)
    console.print(Text(summary(outcomes, seconds), style=_STYLE[worst]))
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def _print_table(console: Console, rows: Sequence[Outcome]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    columns = _columns(rows)
    for title, cells in columns.items():
        fixed = title in ("host", "result")
        table.add_column(title, no_wrap=fixed and max(map(len, cells)) <= _HOST_WIDTH, overflow="fold")
    for number, row in enumerate(rows):
        style = _STYLE[_RANK[row.status]]
        cells = [
            Text(column[number], style=style if title == "result" else "") for title, column in columns.items()
        ]
        table.add_row(*cells)
    console.print(table)
    console.print()


_HOST_WIDTH = 20  # a longer host name may be broken, to leave room for reasons


def _columns(rows: Sequence[Outcome]) -> dict[str, list[str]]:
    """Return the cells by column; columns in which nobody has anything are left out."""
    cells = {
        "host": [row.host for row in rows],
        "what": [subject(row) for row in rows],
        "expected": [row.expected or "" for row in rows],
        "got": [row.actual or "" for row in rows],
        "result": [row.status.value for row in rows],
        "why": [row.why or "" for row in rows],
    }
    return {title: [printable(cell) for cell in column] for title, column in cells.items() if any(column)}


def _print_diff(console: Console, row: Outcome) -> None:
    from rich.text import Text

    console.print(Text(f"{row.host}: {printable(subject(row))}", style="bold"))
    for line in printable(row.diff or "").splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        console.print(Text(line, style=style), soft_wrap=True)
    console.print()
