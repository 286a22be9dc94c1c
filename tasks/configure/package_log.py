"""What a guest's package manager printed: too long for a row, so it is kept in a file that the row names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.output_logs import keep_output
from labrun.ports import Transport
from labrun.tasks.state.sections import PACKAGES

__all__ = ["LOG", "with_log"]

LOG: Final = "labrun_package_log"
"""The name in a host's data of the path where its log goes."""

# As templates/guest/*_install.sh write them; the end says why something failed.
_READ = (
    "for file in /run/labrun-packages.lists /run/labrun-packages; do\n"
    "[ ! -f $file ] || tail -c 262144 $file; done"
)
_SECONDS = 20.0
_TROUBLE = frozenset({Status.FAILED, Status.ROLLED_BACK})


def with_log(transport: Transport, rows: Sequence[Outcome], path: Path) -> list[Outcome]:
    """Fetch the log if packages were to be installed, and return the rows with its path.

    Of installed packages the first names it, of others each. Without a way in, or without room for the log,
    the rows are returned as they are.
    """
    told = [row for row in rows if row.section == PACKAGES.name and row.status in {Status.CHANGED, *_TROUBLE}]
    if not told:
        return list(rows)
    try:
        said = transport.run(_READ, timeout=_SECONDS, sudo=True).stdout
    except LabrunError:
        return list(rows)
    if not said.strip() or not keep_output(path, said):
        return list(rows)
    first = told[0]
    return [
        replace(row, why="; ".join(filter(None, (row.why, f"its output: {path}"))))
        if row is first or (row in told and row.status in _TROUBLE)
        else row
        for row in rows
    ]
