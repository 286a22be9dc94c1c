"""What differs between two runs, as a pure function of their outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from labrun.outcome import Outcome

__all__ = ["Change", "Comparison", "compare"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs; ``before`` is None for what is new, ``after`` for what is gone."""

    before: Outcome | None
    after: Outcome | None

    @property
    def row(self) -> Outcome:
        """Return the later outcome that there is: what says of what thing this is."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def kind(self) -> str:
        """Return ``new``, ``gone`` or ``changed``."""
        return "new" if self.before is None else "gone" if self.after is None else "changed"

    def as_json(self) -> dict[str, Any]:
        """Return the change as it stands in the JSON document."""
        row = self.row
        sides = {"before": _side(self.before), "after": _side(self.after)}
        return {"host": row.host, "section": row.section, "name": row.name, "change": self.kind, **sides}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs, how many things are the same, and what only one of the runs was about.

    ``only`` has hosts, and sections where the runs are of different commands, by which run has them
    (0 or 1): they were not asked for in the other, and are not compared.
    """

    changes: tuple[Change, ...]
    same: int
    only: tuple[tuple[str, ...], tuple[str, ...]]


def compare(before: Sequence[Outcome], after: Sequence[Outcome], *, alike: bool = True) -> Comparison:
    """Compare two runs' outcomes by host, section and name; how long they took is no difference.

    ``alike`` says that the runs are of one command: a section that one of them lacks is a change then.
    """
    runs = (list(before), list(after))
    hosts = [dict.fromkeys(row.host for row in run) for run in runs]
    sections = [dict.fromkeys(row.section for row in run) for run in runs]
    names = list(zip(hosts, (({}, {}) if alike else sections), strict=True))
    only = tuple(
        tuple(
            word
            for mine, others in zip(names[this], names[1 - this], strict=True)
            for word in mine
            if word not in others
        )
        for this in (0, 1)
    )
    left, right = ([row for row in run if not {row.host, row.section} & {*only[0], *only[1]}] for run in runs)
    old, new = dict(_numbered(left)), dict(_numbered(right))
    changes = [
        Change(row, new.get(key))
        for key, row in old.items()
        if key not in new or _said(row) != _said(new[key])
    ]
    changes += [Change(None, row) for key, row in new.items() if key not in old]
    same = sum(1 for key, row in old.items() if key in new and _said(row) == _said(new[key]))
    return Comparison(tuple(changes), same, (only[0], only[1]))


def _numbered(rows: Iterable[Outcome]) -> Iterable[tuple[tuple[str, str, str, int], Outcome]]:
    """Yield rows with what they are about; a second one about the same thing counts for itself."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        item = (row.host, row.section, row.name)
        yield (*item, seen[item]), row
        seen[item] += 1


def _said(row: Outcome) -> tuple[object, ...]:
    return (row.status, row.expected, row.actual, row.why)


def _side(row: Outcome | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "status": row.status.value,
        "expected": row.expected,
        "actual": row.actual,
        "why": row.why or None,
    }
