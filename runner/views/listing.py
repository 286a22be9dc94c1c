"""Plain lists for people: columns that fit the terminal, with nothing cut off."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Sequence

__all__ = ["listing"]


def listing(
    columns: Sequence[str], lines: Sequence[Sequence[str]], *, color: bool, whole: Collection[str] = ()
) -> str:
    """Return a table of text as wide as stdout's terminal. Cells may have several lines.

    Columns in ``whole`` are never folded.
    """
    from rich.table import Table
    from rich.text import Text

    from labrun.runner.cli.terminal import console_on, printable

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    for line in lines:
        table.add_row(*(Text(printable(cell)) for cell in line))
    console = console_on(sys.stdout, color=color)
    buffer = io.StringIO()
    console.file = buffer
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())
