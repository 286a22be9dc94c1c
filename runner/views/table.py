"""The results table: failures first, every reason in full."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING

from labrun.outcome import Outcome, Status
from labrun.runner.cli.terminal import console_on, printable
from labrun.runner.views.folding import fold, joined
from labrun.runner.views.status_look import look

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["order", "render", "subject", "summary"]


def order(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the rows sorted: failed, then unreachable, changes and ok; the order is kept within each."""
    return sorted(outcomes, key=lambda outcome: look(outcome.status).rank)


def subject(outcome: Outcome) -> str:
    """Return a row's subject: ``path -> host03``, or just ``machine``. The host has its own column."""
    named = outcome.name and outcome.name not in (outcome.section, outcome.host)
    return f"{outcome.section} {outcome.short_name}" if named else outcome.section


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
    every_row: bool = False,
) -> str:
    """Return table, diffs and summary as rendered for ``stream``, with its width and colours.

    ``quiet`` keeps only the rows that are not ok, and returns nothing if there are none. ``diff`` adds the
    rows' diffs below the table. Unless ``every_row`` is set, a host's settings with the same result share
    one row.
    """
    from rich.text import Text

    rows = [row for row in order(outcomes) if not (quiet and row.status is Status.OK)]
    if quiet and not rows:
        return ""
    # Render into a buffer: the caller writes it to the stream and handles a reader that went away.
    console = console_on(stream, color=color, width=width)
    console.width, buffer = console.width, io.StringIO()
    console.file = buffer
    if rows:
        _print_table(console, rows if every_row else fold(rows))
    if diff:
        for members, lines in joined(rows):
            what = subject(members[0]) if len(members) == 1 else members[0].section
            _print_diff(console, f"{members[0].host}: {what}", lines)
    looks = [look(Status.OK), *(look(outcome.status) for outcome in outcomes)]
    worst = min(looks, key=lambda status_look: status_look.rank)
    console.print(Text(summary(outcomes, seconds), style=worst.style))
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


_GAP = 2  # columns between two cells
_WHY_WIDTH = 24  # a narrower column of reasons is hard to read; they go below their rows then
_INDENT = 4  # columns before a reason below its row
_WHY_LINES = 3  # a reason with more lines than this also goes below


def _columns(rows: Sequence[Outcome]) -> dict[str, list[str]]:
    """Return the cells by column, without columns that are empty in every row."""
    cells = {
        "host": [row.host for row in rows],
        "what": [subject(row) for row in rows],
        "expected": [row.expected or "" for row in rows],
        "got": [row.actual or "" for row in rows],
        "result": [row.status.value for row in rows],
    }
    return {title: [printable(cell) for cell in column] for title, column in cells.items() if any(column)}


def _natural(title: str, cells: Sequence[str]) -> int:
    return max(len(title), *(len(line) for cell in cells for line in cell.split("\n")))


def _longest_word(cells: Sequence[str]) -> int:
    return max((len(word) for cell in cells for word in cell.split()), default=0)


def _widths(columns: Mapping[str, Sequence[str]], room: int) -> dict[str, int]:
    """Return each column's width. If they do not fit, shrink the widest first.

    Break words only if no column can shrink without.
    """
    widths = {title: _natural(title, cells) for title, cells in columns.items()}
    whole = {title: max(len("expected"), _longest_word(cells)) for title, cells in columns.items()}
    for least in (whole, dict.fromkeys(columns, len("expected"))):
        while sum(widths.values()) + _GAP * (len(widths) - 1) > room:
            giving = [title for title in widths if title != "result" and widths[title] > least[title]]
            if not giving:
                break
            widths[max(giving, key=lambda title: widths[title])] -= 1
    return widths


def _print_table(console: Console, rows: Sequence[Outcome]) -> None:
    columns = _columns(rows)
    reasons = [printable(row.why or "") for row in rows]
    widths = _widths(columns, console.width)
    left = console.width - sum(widths.values()) - _GAP * len(widths)
    inside = [left >= _WHY_WIDTH and _fits(reason, left) for reason in reasons]
    if any(reason and fits for reason, fits in zip(reasons, inside, strict=True)):
        columns["why"] = [reason if fits else "" for reason, fits in zip(reasons, inside, strict=True)]
        widths["why"] = min(left, _natural("why", columns["why"]))
    styles = [look(row.status).style for row in rows]
    console.print(_block(columns, widths, styles, range(0), header=True))
    results = _results(console, rows, widths["result"])
    is_roomy = sum(widths.values()) + _GAP * (len(widths) - 1) <= console.width
    for number, (reason, fits) in enumerate(zip(reasons, inside, strict=True)):
        cells = {title: column[number] for title, column in columns.items()}
        if is_roomy and all(_is_simple(cell, widths[title]) for title, cell in cells.items()):
            # rich takes 0.25 ms per row, and labs have thousands of rows.
            console.file.write(_line(cells, widths, results[number]))
        else:
            console.print(_block(columns, widths, styles, range(number, number + 1), header=False))
        if reason and not fits:
            _print_below(console, reason)
    console.print()


def _is_simple(cell: str, width: int) -> bool:
    return len(cell) <= width and cell.isascii() and "\n" not in cell


def _line(cells: Mapping[str, str], widths: Mapping[str, int], result: str) -> str:
    padded = (result if title == "result" else cell.ljust(widths[title]) for title, cell in cells.items())
    return (" " * _GAP).join(padded) + "\n"


def _results(console: Console, rows: Sequence[Outcome], width: int) -> list[str]:
    """Return each row's result as coloured by the console, padded to the width."""
    from rich.text import Text

    by_status: dict[Status, str] = {}
    for row in rows:
        if row.status not in by_status:
            with console.capture() as capture:
                console.print(Text(row.status.value.ljust(width), look(row.status).style), end="")
            by_status[row.status] = capture.get()
    return [by_status[row.status] for row in rows]


def _fits(reason: str, width: int) -> bool:
    return "\n" not in reason and len(reason) <= _WHY_LINES * width


def _block(
    columns: Mapping[str, Sequence[str]],
    widths: Mapping[str, int],
    styles: Sequence[str],
    rows: range,
    *,
    header: bool,
) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
        show_header=header,
        header_style="bold",
    )
    for title in columns:
        table.add_column(title, width=widths[title], overflow="fold")
    for row in rows:
        coloured = {"result": styles[row]}
        table.add_row(*(Text(cells[row], coloured.get(title, "")) for title, cells in columns.items()))
    return table


def _print_below(console: Console, reason: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if _is_simple(reason, console.width - _INDENT):
        console.file.write(f"{' ' * _INDENT}{reason}\n")
        return
    console.print(Padding(Text(reason, overflow="fold"), (0, 0, 0, _INDENT)))


def _print_diff(console: Console, heading: str, lines: Sequence[str]) -> None:
    from rich.text import Text

    console.print(Text(printable(heading), style="bold"))
    for line in printable("\n".join(lines)).split("\n"):
        style = {"+": "green", "-": "red", "@": "cyan", "\\": "dim"}.get(line[:1], "")
        style = "bold" if line.startswith(("--- ", "+++ ")) else style
        console.print(Text(line, style=style), soft_wrap=True)
    console.print()
