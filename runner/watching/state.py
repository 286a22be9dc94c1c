"""The stored drift state of a lab: the results of the last run, and those that each listener has received.

It is kept next to the history, independent of the lab's hypervisor.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labrun.errors import LabrunError
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.state import state_base
from labrun.state_files import finite, parse_json, read_or_reset, write_private
from labrun.state_folders import UnavailableFolderError, check_folder, private_folder

__all__ = [
    "FINE",
    "RUN",
    "Change",
    "DriftMemory",
    "DriftRecord",
    "Key",
    "Verdicts",
    "changes_between",
    "drift_memory",
    "read_last_drift",
    "read_notified",
    "record_of",
    "remember_drift",
    "remember_notified",
    "verdicts_from",
    "verdicts_json",
    "with_fixed",
    "write_memory",
]


Key = tuple[str, str, str]
"""Host, section and name of one item."""
Verdicts = Mapping[Key, Status]
"""The items that are not as declared."""
RUN: Key = (HYPERVISOR, "run", "drift")
"""The key for a run that could not take place at all."""
FINE = frozenset(status for status in Status if status.code == 0)
_SCHEMA = 1
_COMPARED = (0, 3)  # exit codes of a run that could compare everything


@dataclass(frozen=True, slots=True)
class DriftMemory:
    """The two files of one lab: ``last`` for the last run, ``notified`` for what listeners have received."""

    last: Path
    notified: Path


def drift_memory(invocation: Invocation, lab: str) -> DriftMemory:
    """Return the files' paths. They do not depend on the hypervisor, which may be unreachable.

    Raises LabrunError if other users could have put something there.
    """
    folder = (invocation.state_dir or state_base()) / "drift"
    # Without a place for them there are none, and none are kept.
    with contextlib.suppress(UnavailableFolderError):
        check_folder(folder)
    return DriftMemory(folder / f"{lab}.json", folder / f"{lab}.told.json")


def write_memory(path: Path, text: str) -> None:
    """Write one of the files. A failure does not end the command."""
    with contextlib.suppress(OSError, LabrunError):
        private_folder(path.parent)
        write_private(path, text)


@dataclass(frozen=True, slots=True)
class DriftRecord:
    """One drift run: when it ended and when one last compared everything, in seconds since the epoch.

    ``counts`` is the number of items by host, section and status. A run that could not take place keeps the
    counts and verdicts of the one before, in addition to :data:`RUN`.
    """

    run: str
    ended: float
    seconds: float
    exit_code: int
    compared: float | None = None
    counts: Mapping[str, Mapping[str, Mapping[Status, int]]] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Return whether the run could compare everything, whatever the result."""
        return self.exit_code in _COMPARED


@dataclass(frozen=True, slots=True)
class Change:
    """A verdict that changed; None = as declared, or not in the file.

    ``after`` is ``changed`` for an item that the run itself corrected.
    """

    key: Key
    before: Status | None
    after: Status | None

    def as_json(self) -> dict[str, str | None]:
        """Return the change as in ``changes`` of the JSON document."""
        host, section, name = self.key
        before, after = (status.value if status else None for status in (self.before, self.after))
        return {"host": host, "section": section, "name": name, "before": before, "after": after}


def record_of(
    report: Report, invocation: Invocation, before: DriftRecord | None, hosts: Sequence[str], now: float
) -> DriftRecord:
    """Return the record of a run that ends ``now``; ``hosts`` are all hosts of the lab.

    The data in ``before`` on hosts outside this run is kept.
    """
    code, seconds = report.exit_code, invocation.seconds
    known = before or DriftRecord("", now, 0.0, 0)
    if report.error is not None:
        verdicts = {**known.verdicts, RUN: Status.FAILED}
        return DriftRecord(invocation.run, now, seconds, code, known.compared, known.counts, verdicts)
    compared = {row.host for row in report.outcomes} | {HYPERVISOR}
    others = [host for host in hosts if host not in compared]
    counts = {host: known.counts[host] for host in others if host in known.counts}
    verdicts = {key: status for key, status in known.verdicts.items() if key[0] in others}
    return DriftRecord(
        invocation.run,
        now,
        seconds,
        code,
        now if code in _COMPARED else known.compared,
        {**counts, **_counts(report.outcomes)},
        {**verdicts, **_verdicts(report.outcomes)},
    )


def _counts(rows: Sequence[Outcome]) -> dict[str, dict[str, dict[Status, int]]]:
    counts: dict[str, dict[str, dict[Status, int]]] = {}
    for row in rows:
        section = counts.setdefault(row.host, {}).setdefault(row.section, {})
        section[row.status] = section.get(row.status, 0) + 1
    return counts


def _verdicts(rows: Sequence[Outcome]) -> dict[Key, Status]:
    return {(row.host, row.section, row.name): row.status for row in rows if row.status not in FINE}


def changes_between(before: Verdicts, after: Verdicts) -> tuple[Change, ...]:
    """Return the changes: items that are wrong now first, then those that are right again."""
    worse = [Change(key, before.get(key), status) for key, status in after.items()]
    better = [Change(key, status, None) for key, status in before.items() if key not in after]
    return tuple(change for change in (*worse, *better) if change.before is not change.after)


def with_fixed(changes: Sequence[Change], before: Verdicts, rows: Sequence[Outcome]) -> tuple[Change, ...]:
    """Return the changes plus the run's own corrections: drift that it found and fixed."""
    fixed = [(row.host, row.section, row.name) for row in rows if row.status is Status.CHANGED]
    others = [change for change in changes if change.key not in set(fixed)]
    return (*others, *(Change(key, before.get(key), Status.CHANGED) for key in fixed))


def remember_drift(path: Path, record: DriftRecord) -> None:
    """Replace the last record. A write error does not end the command."""
    counts = {
        host: {
            section: {status.value: number for status, number in by_status.items()}
            for section, by_status in sections.items()
        }
        for host, sections in record.counts.items()
    }
    content = {
        "schema": _SCHEMA,
        "run": record.run,
        "ended": record.ended,
        "seconds": round(record.seconds, 3),
        "exit_code": record.exit_code,
        "compared": record.compared,
        "counts": counts,
        "verdicts": verdicts_json(record.verdicts),
    }
    write_memory(path, json.dumps(content) + "\n")


def read_last_drift(path: Path) -> DriftRecord | None:
    """Return the last run, None if there is none. An invalid file is set aside."""
    nothing: DriftRecord | None = None
    return read_or_reset(path, _record_in, nothing)


def _record_in(data: bytes) -> DriftRecord:
    content = parse_json(data)
    if content["schema"] != _SCHEMA:
        raise ValueError("another version of this file")
    compared = content["compared"]
    return DriftRecord(
        str(content["run"]),
        finite(content["ended"]),
        finite(content["seconds"]),
        int(content["exit_code"]),
        None if compared is None else finite(compared),
        {str(host): _by_section(sections) for host, sections in content["counts"].items()},
        verdicts_from(content["verdicts"]),
    )


def _by_section(sections: Mapping[str, Mapping[str, int]]) -> dict[str, dict[Status, int]]:
    return {
        str(section): {Status(status): int(number) for status, number in counts.items()}
        for section, counts in sections.items()
    }


def verdicts_json(verdicts: Verdicts) -> list[list[str]]:
    """Return verdicts as a list of ``[host, section, name, status]``."""
    return [[*key, status.value] for key, status in verdicts.items()]


def verdicts_from(content: Sequence[Sequence[str]]) -> dict[Key, Status]:
    """Parse the output of :func:`verdicts_json`. Raises ValueError or TypeError for anything else."""
    verdicts = {(host, section, name): Status(status) for host, section, name, status in content}
    if not all(isinstance(part, str) for key in verdicts for part in key):
        raise TypeError("an item is named by three texts")
    return verdicts


def _read_notified(path: Path) -> dict[str, Verdicts]:
    nothing: dict[str, Verdicts] = {}
    return read_or_reset(path, _verdicts_in, nothing)


def _verdicts_in(data: bytes) -> dict[str, Verdicts]:
    return {str(listener): verdicts_from(content) for listener, content in parse_json(data).items()}


def read_notified(path: Path, listener: str) -> Verdicts:
    """Return the verdicts that a listener has received, empty if there are none."""
    return _read_notified(path).get(listener, {})


def remember_notified(path: Path, listener: str, verdicts: Verdicts) -> None:
    """Record the verdicts that a listener has received. A write error does not end the command."""
    known = {**_read_notified(path), listener: verdicts}
    content = {name: verdicts_json(received) for name, received in known.items()}
    write_memory(path, json.dumps(content) + "\n")
