"""`labrun report`: the lab and its last verify as a single, self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labrun import __version__
from labrun.outcome import Outcome
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import OutputFile, is_stdout, write_output
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.runner.views.causes import Cause
    from labrun.runner.views.diagram_input import DrawnLab
    from labrun.runner.views.matrix import Matrix

_MOST_CAUSES = 20
_WIDEST = 60
"""In hosts; a browser can show a larger matrix, but it would be unreadable."""


@verb("report", own_format=True)
@click.option(
    "--html",
    "--output",
    "-o",
    "path",
    type=OutputFile(),
    required=True,
    metavar="FILE",
    help="Where to write the page, - for stdout.",
)
def command(invocation: Invocation, path: Path) -> Report:
    """Write one self-contained HTML page with diagram, matrix, results and history.

    Shows the last verify and the last runs; no host is queried. The page loads nothing from elsewhere, and
    can be read without scripts.
    """
    from labrun.runner.commands.report.history import RUNS
    from labrun.runner.views.diagram_input import drawn_lab

    drawn = drawn_lab(invocation, runs=RUNS)
    text = page(drawn)
    if is_stdout(path):
        return Report(drawn.lab.name, text=text)
    write_output(path, text)
    return Report(drawn.lab.name, text=f"wrote {path}\n")


def page(drawn: DrawnLab) -> str:
    """Return the page as HTML."""
    from labrun.rendering import render_xml
    from labrun.runner.commands.report.history import MARKS, strips, table
    from labrun.runner.views.causes import causes
    from labrun.runner.views.diagram_input import draw
    from labrun.runner.views.graph.colours import LEGEND as STATES
    from labrun.runner.views.graph.svg import svg_element
    from labrun.runner.views.matrix import LEGEND, matrices

    last, diagram = drawn.last, draw(drawn)
    rows = [row for row in last.rows if row.host in _about(drawn)] if last else []
    tables = [matrix for matrix in matrices(list(drawn.lab.hosts), rows) if matrix.cells]
    found = causes(rows, [name for name, host in drawn.lab.hosts.items() if host.machine is None])
    counts = Counter(row.status.value for row in rows)
    return render_xml(
        "report/page.html.j2",
        lab=drawn.lab.name,
        version=__version__,
        verified=drawn.verified,
        run=last.run if last else None,
        seconds=f"{last.seconds:.1f}" if last else None,
        diagram=svg_element(diagram, alone=False),
        colours=[(health.value, what) for health, what in STATES.items() if health in diagram.health],
        matrices=[_matrix(matrix, len(tables)) for matrix in tables if len(matrix.hosts) <= _WIDEST],
        left_out=any(len(matrix.hosts) > _WIDEST for matrix in tables),
        legend=LEGEND,
        statuses=[(status, counts[status]) for status in _in_order(rows)],
        hosts=list(dict.fromkeys(row.host for row in rows)),
        parts=_parts(rows),
        causes=[_cause(cause) for cause in found[:_MOST_CAUSES]],
        more_causes=max(len(found) - _MOST_CAUSES, 0),
        strips=strips(drawn.runs),
        marks=MARKS.values(),
        runs=table(drawn.runs),
    )


def _about(drawn: DrawnLab) -> set[str]:
    """Return the hosts whose rows are shown: the selected ones, or all, including rows without a host."""
    if len(drawn.hosts) < len(drawn.lab.hosts):
        return set(drawn.hosts)
    return {row.host for row in drawn.last.rows} if drawn.last else set()


def _in_order(rows: list[Outcome]) -> list[str]:
    from labrun.runner.views.table import order

    return list(dict.fromkeys(row.status.value for row in order(rows)))


def _parts(rows: list[Outcome]) -> list[dict[str, Any]]:
    """Return the rows as the page shows them: those that are ok are folded below the others."""
    from labrun.runner.views.status_look import look
    from labrun.runner.views.table import order

    shown = order(rows)
    fine = [_row(row) for row in shown if look(row.status).is_good]
    wrong = [_row(row) for row in shown if not look(row.status).is_good]
    parts = ({"rows": wrong, "folded": False}, {"rows": fine, "folded": bool(wrong)})
    return [part for part in parts if part["rows"]]


def _cause(cause: Cause) -> dict[str, Any]:
    from labrun.runner.cli.terminal import printable
    from labrun.runner.views.cause_text import breaks, by_hand, headline
    from labrun.runner.views.status_look import look

    seen = look(cause.status)
    lines = [("breaks", breaks(cause), False), *(("by hand", line, True) for line in by_hand(cause))]
    shown = [
        (label, printable(text), typed)
        for label, text, typed in (*lines, ("labrun", cause.labrun, True))
        if text
    ]
    return {
        "sign": seen.sign,
        "health": seen.health.value,
        "what": printable(headline(cause)),
        "lines": shown,
    }


def _row(row: Outcome) -> dict[str, str]:
    from labrun.runner.cli.terminal import printable
    from labrun.runner.views.status_look import look
    from labrun.runner.views.table import subject

    cells = {
        "host": row.host,
        "what": subject(row),
        "expected": row.expected,
        "got": row.actual,
        "why": row.why,
        "diff": row.diff,
    }
    texts = {name: printable(value or "") for name, value in cells.items()}
    return {**texts, "status": row.status.value, "sign": look(row.status).sign}


@dataclass(frozen=True, slots=True)
class _Cell:
    mark: str
    health: str
    title: str


@dataclass(frozen=True, slots=True)
class _Line:
    host: str
    cells: tuple[_Cell, ...]


@dataclass(frozen=True, slots=True)
class _MatrixTable:
    """A matrix as the template draws it."""

    title: str
    hosts: tuple[str, ...]
    lines: tuple[_Line, ...]


def _matrix(matrix: Matrix, count: int) -> _MatrixTable:
    lines = [
        _Line(source, tuple(_cell(matrix, source, target) for target in matrix.hosts))
        for source in matrix.sources
    ]
    return _MatrixTable(f"IPv{matrix.version}" if count > 1 else "", matrix.hosts, tuple(lines))


def _cell(matrix: Matrix, source: str, target: str) -> _Cell:
    from labrun.runner.views.status_look import look

    mark, cell = matrix.mark(source, target), matrix.cells.get((source, target))
    if cell is None:
        return _Cell(mark, "self", "")
    why = f", {cell.why}" if cell.why else ""
    return _Cell(mark, look(cell.status).health.value, f"{source} to {target}: {cell.status.value}{why}")
