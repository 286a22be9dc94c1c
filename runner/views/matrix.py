"""The reachability matrix: every host against every other, one sign per pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labrun.outcome import Outcome, Pair, Status
from labrun.runner.views.status_look import look
from labrun.tasks.state.sections import PATH

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

__all__ = ["LEGEND", "Cell", "Matrix", "as_json", "matrices", "path_of", "text"]

WIDTH = 80
_NAME = 24  # letters of a host's name; longer names are cut, but their numbers keep them apart

LEGEND: Mapping[str, str] = {
    "1": "reached directly",
    "2 3 ..": "through one router, two routers, ..",
    ".": "not reached, as the lab file declares",
    "x": "failed",
    "~": "drifted",
    "+": "pending",
    "#": "drifted and pending",
    "!": "an end is unreachable",
    "?": "inconclusive",
    "-": "not checked",
}

_HOPS = frozenset({Status.OK, Status.WARNING, Status.CHANGED})
"""A pair with one of these shows the number of its hops."""


def path_of(row: Outcome) -> Pair | None:
    """Return the pair of a ``path`` row, None for any other row."""
    return row.subject if row.section == PATH.name and isinstance(row.subject, Pair) else None


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair; ``hops`` is the number of hops that answered, including the target, None if not reached."""

    status: Status
    hops: int | None
    why: str | None

    @property
    def mark(self) -> str:
        """Return a sign of :data:`LEGEND`, or the number of hops."""
        if self.status not in _HOPS:
            return look(self.status).sign
        return str(self.hops) if self.hops is not None else look(Status.OK).sign


@dataclass(frozen=True, slots=True)
class Matrix:
    """All pairs of one IP version; ``hosts`` in file order, ``sources`` those that were traced from."""

    version: int
    hosts: tuple[str, ...]
    sources: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]

    def mark(self, source: str, target: str) -> str:
        """Return the sign of a pair, a blank for a host and itself."""
        if source == target:
            return ""
        cell = self.cells.get((source, target))
        return cell.mark if cell is not None else look(Status.SKIPPED).sign


def matrices(hosts: Sequence[str], rows: Sequence[Outcome]) -> list[Matrix]:
    """Return the matrix of IPv4, and that of IPv6 if there are dual-stack pairs.

    A pair with IPv6 only goes into the first one. The rows of a matrix are the hosts that have paths in the
    results.
    """
    by_version: dict[int, dict[tuple[str, str], Cell]] = {4: {}}
    paths = [(pair, row) for row in rows if (pair := path_of(row)) is not None]
    in_ipv4 = {(pair.source, pair.target) for pair, _ in paths if pair.family == 4}
    for pair, row in paths:
        ends = pair.source, pair.target
        version = pair.family if ends in in_ipv4 else 4
        by_version.setdefault(version, {})[ends] = _cell(row)
    traced = {source for cells in by_version.values() for source, _ in cells}
    sources = tuple(host for host in hosts if host in traced)
    return [Matrix(version, tuple(hosts), sources, cells) for version, cells in sorted(by_version.items())]


def _cell(row: Outcome) -> Cell:
    reached = row.status in (Status.OK, Status.WARNING) and row.actual not in (None, "unreachable")
    return Cell(row.status, len((row.actual or "").split()) if reached else None, row.why)


def as_json(tables: Sequence[Matrix]) -> list[JsonObject]:
    """Return the matrices for the JSON document; ``hops`` is null if the target was not reached."""
    return [
        {
            "version": matrix.version,
            "hosts": list(matrix.hosts),
            "pairs": [
                {"from": source, "to": target, "status": cell.status.value, "hops": cell.hops}
                for (source, target), cell in matrix.cells.items()
            ],
        }
        for matrix in tables
    ]


def text(tables: Sequence[Matrix], width: int = WIDTH) -> str:
    """Return the matrices as lines of at most ``width`` characters, with a legend."""
    blocks = [_block(matrix, width, named=len(tables) > 1) for matrix in tables]
    used = {matrix.mark(source, target) for matrix in tables for source, target in matrix.cells}
    meaning = {mark: what for mark, what in LEGEND.items() if mark in used or mark.startswith("2")}
    if not any(mark.isdecimal() and mark != "1" for mark in used):
        meaning.pop("2 3 ..", None)
    legend = _filled([f"{mark} {what}" for mark, what in meaning.items()], width)
    return "\n".join([*blocks, legend]).rstrip() + "\n"


def _block(matrix: Matrix, width: int, *, named: bool) -> str:
    digits = len(str(len(matrix.hosts)))
    cell = max(3, digits + 1)
    names = {host: f"{number:>{digits}} {host[:_NAME]}" for number, host in enumerate(matrix.hosts, start=1)}
    first = max([*(len(name) for name in names.values()), len("from \\ to")])
    columns = max(1, (width - first) // cell)
    title = f"from \\ to{f' (IPv{matrix.version})' if named else ''}"
    lines = []
    for begin in range(0, len(matrix.hosts), columns):
        part = range(begin, min(begin + columns, len(matrix.hosts)))
        # A title that is wider than the names goes above them.
        head = title if len(title) <= first else ""
        lines += [title] if not head and begin == 0 else []
        lines.append(f"{head:<{first}}" + "".join(f"{number + 1:>{cell}}" for number in part))
        for source in matrix.sources:
            marks = (matrix.mark(source, matrix.hosts[number]) for number in part)
            lines.append(
                (f"{names[source]:<{first}}" + "".join(f"{mark:>{cell}}" for mark in marks)).rstrip()
            )
        lines.append("")
    return "\n".join(lines)


def _filled(parts: Sequence[str], width: int) -> str:
    lines = [""]
    for part in parts:
        joined = f"{lines[-1]}   {part}" if lines[-1] else part
        lines = [*lines[:-1], joined] if len(joined) <= width else [*lines, part]
    return "\n".join(lines)
