"""The planted fault: its record, encoded so that it is not read by accident, its hints, its scripts' run."""

from __future__ import annotations

import base64
import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from labrun.errors import LabrunError
from labrun.notices import notice
from labrun.outcome import Outcome, exit_code
from labrun.runner.cli.report import Report
from labrun.state import LabState
from labrun.state_files import parse_json, read_or_reset, write_private
from labrun.tasks.state.sections import Scope, section_of

if TYPE_CHECKING:
    from labrun.json_values import JsonObject
    from labrun.ports import Completed
    from labrun.runner.engine.session import Session, TaskData

__all__ = [
    "Planted",
    "duration_text",
    "forget",
    "hints_text",
    "on_hosts",
    "packed",
    "recall",
    "remember",
    "require_planted",
    "unpacked",
    "with_hint",
    "without_reasons",
]

_LARGEST = 64 * 1024
_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted fault: its host, its hints from vague to plain, and how many have been given.

    ``began`` and ``solved`` are seconds since the epoch; 0 = not known, or not solved yet.
    """

    fault: str
    host: str
    hints: tuple[str, ...]
    given: int = 0
    began: float = 0.0
    solved: float = 0.0

    @property
    def story(self) -> str:
        """Return the fault, and how long it took with how many hints: ``arp-off on r (4 min, 1 hint)``."""
        took = [duration_text(self.solved - self.began)] if self.began and self.solved else []
        return f"{self.fault} on {self.host} ({', '.join([*took, hints_text(self.given)])})"

    def as_solved(self) -> Planted:
        """Return a copy that is solved, now unless it was before."""
        return self if self.solved else replace(self, solved=time.time())

    def next_hint(self) -> Planted:
        """Return a copy with one more hint given."""
        return replace(self, given=min(self.given + 1, len(self.hints)))


def duration_text(seconds: float) -> str:
    """Return a length of time in its largest unit: ``40 s``, ``4 min``, ``2 h 5 min``."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{max(seconds, 0):.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def hints_text(number: int) -> str:
    """Return ``no hint``, ``1 hint``, ``2 hints``."""
    return f"{number or 'no'} hint{'s' if number > 1 else ''}"


def remember(state: LabState, planted: Planted) -> None:
    """Record the fault, packed so that a look at the state directory does not reveal it."""
    write_private(state.fault, packed(asdict(planted)))


def packed(content: JsonObject) -> str:
    """Return an object so that nobody reads it by accident; :func:`unpacked` reverses it."""
    return base64.b64encode(zlib.compress(json.dumps(content).encode())).decode("ascii") + "\n"


def recall(state: LabState) -> Planted | None:
    """Return the planted fault, None if there is none. An invalid file is set aside."""
    nothing: Planted | None = None
    return read_or_reset(state.fault, _unpacked, nothing, largest=_LARGEST)


def _unpacked(data: bytes) -> Planted:
    content = unpacked(data)
    hints = tuple(str(hint) for hint in content["hints"])
    times = (float(content.get("began", 0)), float(content.get("solved", 0)))
    return Planted(str(content["fault"]), str(content["host"]), hints, int(content["given"]), *times)


def unpacked(data: bytes) -> dict[str, Any]:
    """Return the object that was packed. Raises ValueError for anything else."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(base64.b64decode(data), _LARGEST)
    except zlib.error as error:
        raise ValueError("this is not packed") from error
    if not unpacking.eof:
        raise ValueError("there is more in this than labrun writes")
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("this is no object")
    return content


def forget(state: LabState) -> None:
    """Delete the record, if there is one. A failure does not undo the mending, and is said."""
    try:
        state.fault.unlink(missing_ok=True)
    except OSError as error:
        if os.path.lexists(state.fault):
            notice(f"cannot remove {state.fault}: {error.strerror}")


def require_planted(state: LabState) -> Planted:
    """Return the planted fault. Raises LabrunError if there is none."""
    planted = recall(state)
    if planted is None:
        raise LabrunError(
            "no fault is planted: there is nothing to hint at", hint="`labrun break` plants one"
        )
    return planted


def without_reasons(rows: Sequence[Outcome]) -> list[Outcome]:
    """Return the failing paths and checks, without what would tell the fault."""
    between = [row for row in rows if section_of(row.section).scope is Scope.PATH]
    return [replace(row, why=None, fault=None, blamed=None, by_hand=()) for row in between if row.exit_code]


def with_hint(lab_name: str, rows: Sequence[Outcome], state: LabState, *, whole: bool) -> Report:
    """Return the failing paths and checks, without reasons, and the hints so far plus one more.

    If nothing fails, the fault is solved, and no further hint is given.
    """
    planted = require_planted(state)
    if whole and not any(row.exit_code for row in rows):
        remember(state, planted := planted.as_solved())
        notes = [f"Solved: it was {planted.story}.", "`labrun mend` clears it."]
        return Report(lab_name, extra={"solved": planted.fault, "hints": []}, notes=notes)
    planted = planted.next_hint()
    remember(state, planted)
    symptoms = without_reasons(rows)
    hints = planted.hints[: planted.given]
    notes = [f"hint {number} of {len(planted.hints)}: {text}" for number, text in enumerate(hints, 1)]
    if not symptoms:
        notes.insert(0, "No path or check fails: the fault is elsewhere.")
    return Report(lab_name, symptoms, extra={"hints": list(hints)}, notes=notes, code=exit_code(rows))


def on_hosts(
    session: Session, scripts: Mapping[str, str], *, silent: bool = False
) -> dict[str, Completed | BaseException]:
    """Run each host's script on it. Return what it did or the exception, by host.

    ``silent`` shows no progress, which would reveal the hosts.
    """
    from labrun.ports import Completed
    from labrun.runner.cli.progress import progress
    from labrun.runner.engine.results import results_of
    from labrun.tasks.faults.task import JOB, FaultJob, run_script

    machines = session.machines()
    data: dict[str, TaskData] = {}
    for host, script in scripts.items():
        seen = machines.get(host)
        machine = (seen.kind, seen.uri, session.lab.libvirt_name(host)) if seen else None
        data[host] = {JOB: FaultJob(script, machine)}
    hosts = tuple(data)
    with ExitStack() as stack:
        if not silent:
            stack.enter_context(progress(hosts, session.invocation))
        budget = session.budget(_SECONDS)
        nornir = stack.enter_context(session.engine(session.locate(), budget, data, hosts=hosts))
        return results_of(nornir.run(run_script), Completed)
