"""Compare the outcomes of two runs, as a pure function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labrun.outcome import Outcome

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

__all__ = ["Change", "Comparison", "compare"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; ``before`` is None for a new item, ``after`` for one that is gone."""

    before: Outcome | None
    after: Outcome | None

    @property
    def row(self) -> Outcome:
        """Return the later of the two outcomes that exist; it identifies the item."""
        row = self.after or self.before
        assert row is not None
        return row

    @property
    def kind(self) -> str:
        """Return ``new``, ``gone`` or ``changed``."""
        return "new" if self.before is None else "gone" if self.after is None else "changed"

    def as_json(self) -> JsonObject:
        """Return the change as in the JSON document."""
        row = self.row
        sides = {"before": _side(self.before), "after": _side(self.after)}
        return {"host": row.host, "section": row.section, "name": row.name, "change": self.kind, **sides}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences, the number of equal items, and what only one of the runs covers.

    ``only`` has the hosts that just one run (0 or 1) covers, and the sections too if the commands differ.
    The other run was not asked for them, so they are not compared.
    """

    changes: tuple[Change, ...]
    same: int
    only: tuple[tuple[str, ...], tuple[str, ...]]


def compare(before: Sequence[Outcome], after: Sequence[Outcome], *, alike: bool = True) -> Comparison:
    """Compare two runs' outcomes by host, section and name, ignoring durations.

    ``alike`` means that both runs are of the same command: then a section that one of them lacks is a
    change.
    """
    runs = (list(before), list(after))
    hosts = [dict.fromkeys(row.host for row in run) for run in runs]
    sections = [dict.fromkeys(row.section for row in run) for run in runs]
    names = list(zip(hosts, (({}, {}) if alike else sections), strict=True))
    only = tuple(
        tuple(
            word
            for names_here, names_there in zip(names[number], names[1 - number], strict=True)
            for word in names_here
            if word not in names_there
        )
        for number in (0, 1)
    )
    left, right = ([row for row in run if not {row.host, row.section} & {*only[0], *only[1]}] for run in runs)
    old, new = dict(_numbered(left)), dict(_numbered(right))
    changes = [
        Change(row, new.get(key))
        for key, row in old.items()
        if key not in new or _result(row) != _result(new[key])
    ]
    changes += [Change(None, row) for key, row in new.items() if key not in old]
    same = sum(1 for key, row in old.items() if key in new and _result(row) == _result(new[key]))
    return Comparison(tuple(changes), same, (only[0], only[1]))


def _numbered(rows: Iterable[Outcome]) -> Iterable[tuple[tuple[str, str, str, int], Outcome]]:
    """Yield rows with their keys; the last part numbers rows with the same host, section and name."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        item = (row.host, row.section, row.name)
        yield (*item, seen[item]), row
        seen[item] += 1


def _result(row: Outcome) -> tuple[object, ...]:
    return (row.status, row.expected, row.actual, row.why)


def _side(row: Outcome | None) -> Mapping[str, str | None] | None:
    if row is None:
        return None
    return {
        "status": row.status.value,
        "expected": row.expected,
        "actual": row.actual,
        "why": row.why or None,
    }
