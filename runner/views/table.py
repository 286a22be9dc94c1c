"""The results table: failures first, every reason in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO

from labrun.outcome import Outcome, Status
from labrun.runner.cli.terminal import Screen, printable, screen_on
from labrun.runner.views.columns import (
    GAP,
    coloured,
    column_widths,
    folded,
    heading,
    natural_width,
    table_row,
)
from labrun.runner.views.folding import fold, joined
from labrun.runner.views.status_look import look

__all__ = ["diffs", "order", "render", "subject", "summary", "table"]


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
    rows = [row for row in order(outcomes) if not (quiet and row.status is Status.OK)]
    if quiet and not rows:
        return ""
    screen = screen_on(stream, color=color, width=width)
    shown = rows if every_row else fold(rows)
    parts = list(_table(shown, screen)) if rows else []
    parts += [diffs(rows, screen)] if diff else []
    looks = [look(Status.OK), *(look(outcome.status) for outcome in outcomes)]
    worst = min(looks, key=lambda status_look: status_look.rank)
    for text in (*_shared_reasons(shown), summary(outcomes, seconds)):
        parts += (f"{coloured(line, worst.style, screen)}\n" for line in folded(text, screen.width))
    return "".join(parts)


def table(rows: Sequence[Outcome], screen: Screen) -> str:
    """Return every row as a table, in the order of :func:`order`."""
    return "".join(_table(order(rows), screen))


def diffs(rows: Sequence[Outcome], screen: Screen) -> str:
    """Return the rows' diffs, each below its host and what it is of."""
    parts = []
    for members, lines in joined(rows):
        what = subject(members[0]) if len(members) == 1 else members[0].section
        parts.append(_diff(f"{members[0].host}: {what}", lines, screen))
    return "".join(parts)


def _shared_reasons(rows: Sequence[Outcome]) -> list[str]:
    """Return the reasons that many rows have in common: ``197 rows: r: net.ipv4.ip_forward is 0``."""
    counts = Counter(row.why for row in rows if row.why and row.exit_code)
    return [
        f"{count} rows: {printable(why)}"
        for why, count in counts.most_common(_MOST_REASONS)
        if count >= _MANY
    ]


_MANY, _MOST_REASONS = 10, 3  # rows whose reasons one sees at a glance need no such line
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


def _table(rows: Sequence[Outcome], screen: Screen) -> Iterator[str]:
    columns = _columns(rows)
    reasons = [printable(row.why or "") for row in rows]
    widths = column_widths(columns, screen.width, whole=("result",))
    left = screen.width - sum(widths.values()) - GAP * len(widths)
    inside = [left >= _WHY_WIDTH and _fits(reason, left) for reason in reasons]
    if any(reason and fits for reason, fits in zip(reasons, inside, strict=True)):
        columns["why"] = [reason if fits else "" for reason, fits in zip(reasons, inside, strict=True)]
        widths["why"] = min(left, natural_width("why", columns["why"]))
    yield heading(widths, screen, ruled=True)
    for number, row in enumerate(rows):
        cells = {title: column[number] for title, column in columns.items()}
        yield table_row(cells, widths, screen, {"result": look(row.status).style})
        if reasons[number] and not inside[number]:
            for line in folded(reasons[number], screen.width - _INDENT):
                yield f"{' ' * _INDENT}{line}".rstrip() + "\n"
    yield "\n"


def _fits(reason: str, width: int) -> bool:
    return "\n" not in reason and len(reason) <= _WHY_LINES * width


def _diff(title: str, lines: Sequence[str], screen: Screen) -> str:
    shown = [coloured(printable(title), "bold", screen)]
    for line in printable("\n".join(lines)).split("\n"):
        style = {"+": "green", "-": "red", "@": "cyan", "\\": "dim"}.get(line[:1], "")
        shown.append(coloured(line, "bold" if line.startswith(("--- ", "+++ ")) else style, screen))
    return "".join(f"{line.rstrip()}\n" for line in shown) + "\n"
