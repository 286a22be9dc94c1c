"""The rows that a call returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from labrun.errors import LabrunError
from labrun.outcome import Outcome, exit_code

__all__ = ["Outcomes"]


class Outcomes(Sequence[Outcome]):
    """Rows of a command, in its order; true if there is any.

    ``ok`` is true if no row is bad: the exit code of the command would be 0.
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[Outcome] = ()):
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> Outcomes: ...
    def __getitem__(self, index: int | slice) -> Outcome | Outcomes:
        """Return a row, or the rows of a slice."""
        return Outcomes(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return self._rows == other._rows if isinstance(other, Outcomes) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._rows)

    def __repr__(self) -> str:
        """Return the bad rows, one a line, or how many there are if all is well: for assertion messages."""
        if self.ok:
            return f"<Outcomes: {len(self._rows)} rows, ok>"
        return "\n".join(
            [f"<Outcomes: {len(self.bad)} of {len(self._rows)} rows are bad>", *map(_line, self.bad)]
        )

    @property
    def ok(self) -> bool:
        """Return whether the command's exit code would be 0."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """Return what the command would end with: 0, 1, 3, 4 or 5."""
        return exit_code(self._rows)

    @property
    def bad(self) -> Outcomes:
        """Return the rows that are neither ok, changed, skipped nor a warning."""
        return Outcomes(row for row in self._rows if row.exit_code)

    def of(self, section: str | None = None, *, host: str | None = None, name: str | None = None) -> Outcomes:
        """Return the rows of a section, of a host, of a name; all of those that are given."""
        return Outcomes(
            row
            for row in self._rows
            if section in (None, row.section) and host in (None, row.host) and name in (None, row.name)
        )

    def raise_if_bad(self) -> Outcomes:
        """Return these rows. Raises LabrunError that names the bad ones, if there are any."""
        if not self.ok:
            raise LabrunError("; ".join(map(_line, self.bad)))
        return self


def _line(row: Outcome) -> str:
    got = [f"expected {row.expected}" if row.expected else "", f"got {row.actual}" if row.actual else ""]
    details = ", ".join(filter(None, [*got, row.why or ""]))
    return f"{row.host}: {row.section} {row.name}: {row.status.value}" + (f" ({details})" if details else "")
