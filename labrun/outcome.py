"""The outcome of one item on one host. Table, JSON and exit code are views of a list of outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

__all__ = [
    "HYPERVISOR",
    "OUT_OF_BAND",
    "Family",
    "Fault",
    "Nic",
    "Outcome",
    "Pair",
    "Status",
    "Subject",
    "exit_code",
]

HYPERVISOR = "hypervisor"
"""The ``host`` of rows that do not belong to a host of the lab."""

OUT_OF_BAND = "seen out of band"
"""In the ``why`` of each row that was judged without a login, since labrun could not log in to the host."""


class Status(StrEnum):
    """The result for one item."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    WOULD_CHANGE = "would-change"
    PENDING = "pending"
    DRIFTED = "drifted"
    CONFLICT = "conflict"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"

    @property
    def code(self) -> int:
        """Return the exit code for this status."""
        return _CODES[self]


_CODES = {
    Status.OK: 0,
    Status.CHANGED: 0,
    Status.SKIPPED: 0,
    Status.WARNING: 0,
    Status.FAILED: 1,
    Status.ROLLED_BACK: 1,
    Status.WOULD_CHANGE: 3,
    Status.PENDING: 3,
    Status.DRIFTED: 3,
    Status.CONFLICT: 3,
    Status.UNREACHABLE: 4,
    Status.UNKNOWN: 4,
}
_PRECEDENCE = (5, 1, 4, 3)


Family = Literal[4, 6]
"""An IP version."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The path from one host to another, in one IP version."""

    source: str
    target: str
    family: Family


@dataclass(frozen=True, slots=True)
class Nic:
    """A host's NIC, by its name."""

    host: str
    name: str


Subject = Pair | Nic


@dataclass(frozen=True, slots=True)
class Fault:
    """The origin of a row that only follows from something else.

    ``host`` is where it is, None if that is not known, and ``what`` says it without the host. ``section`` and
    ``name`` are those of the host's own row about it, empty if it has none. ``by_hand`` are the commands that
    mend it in a root shell of that host.
    """

    host: str | None
    what: str
    section: str = ""
    name: str = ""
    by_hand: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row: ``section`` and ``name`` identify the item, ``expected`` and ``actual`` are text for people.

    ``seconds`` is the time that this row took. ``hypervisor_fault`` marks a failure caused by libvirt or
    the hypervisor (exit code 5). ``subject`` is set if the row is about more than its host, ``blamed`` is
    the host at fault, if known, and ``fault`` what is wrong there. ``by_hand`` are the commands that mend
    this very row in a root shell of its host, ``before`` is what ``actual`` was before this run changed it.
    ``due_to`` is the status of what an ``unknown`` row is unknown because of: that decides the exit code.
    ``changes`` is what a change consists of, in a few words each. None of these is in the JSON document.
    """

    host: str
    section: str
    name: str
    status: Status
    expected: str | None = None
    actual: str | None = None
    why: str | None = None
    diff: str | None = None
    seconds: float = 0.0
    hypervisor_fault: bool = False
    subject: Subject | None = None
    blamed: str | None = None
    fault: Fault | None = None
    by_hand: tuple[str, ...] = ()
    before: str | None = None
    due_to: Status | None = None
    changes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, str | float | None]:
        """Return the row as in ``results`` of the JSON document."""
        # Written out: dataclasses.asdict makes deep copies, and large labs have thousands of rows.
        return {
            "host": self.host,
            "section": self.section,
            "name": self.name,
            "status": self.status.value,
            "expected": self.expected,
            "actual": self.actual,
            "why": self.why or None,
            "diff": self.diff,
            "seconds": round(self.seconds, 3),
        }

    @property
    def short_name(self) -> str:
        """Return the name to show next to the row's host: for a pair, without its source."""
        return self.name.removeprefix(f"{self.host} ") if isinstance(self.subject, Pair) else self.name

    @property
    def exit_code(self) -> int:
        """Return the exit code for this row alone."""
        if self.hypervisor_fault and self.status is Status.FAILED:
            return 5
        if self.status is Status.UNKNOWN and self.due_to is not None:
            return self.due_to.code
        return self.status.code


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return the first of 5, 1, 4, 3 that applies, else 0."""
    codes = {outcome.exit_code for outcome in outcomes}
    return next((code for code in _PRECEDENCE if code in codes), 0)
