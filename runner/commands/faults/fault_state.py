"""The planted fault: its record, encoded so that it is not read by accident, its hints, its scripts' run."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from labrun.errors import LabrunError
from labrun.notices import notice
from labrun.outcome import Outcome, exit_code
from labrun.runner.cli.report import Report
from labrun.state import LabState
from labrun.state_files import parse_json, read_or_reset, write_private
from labrun.tasks.state.sections import Scope, section_of

if TYPE_CHECKING:
    from labrun.ports import Completed
    from labrun.runner.engine.session import Session, TaskData

__all__ = ["Planted", "forget", "on_hosts", "recall", "remember", "require_planted", "with_hint"]

_LARGEST = 64 * 1024
_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted fault: its host, its hints from vague to plain, and how many have been given."""

    fault: str
    host: str
    hints: tuple[str, ...]
    given: int = 0

    def next_hint(self) -> Planted:
        """Return a copy with one more hint given."""
        return replace(self, given=min(self.given + 1, len(self.hints)))


def remember(state: LabState, planted: Planted) -> None:
    """Record the fault, packed so that a look at the state directory does not reveal it."""
    packed = base64.b64encode(zlib.compress(json.dumps(asdict(planted)).encode()))
    write_private(state.fault, packed.decode("ascii") + "\n")


def recall(state: LabState) -> Planted | None:
    """Return the planted fault, None if there is none. An invalid file is set aside."""
    nothing: Planted | None = None
    return read_or_reset(state.fault, _unpacked, nothing, largest=_LARGEST)


def _unpacked(data: bytes) -> Planted:
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(base64.b64decode(data), _LARGEST)
    except zlib.error as error:
        raise ValueError("this is not packed") from error
    if not unpacking.eof:
        raise ValueError("there is more in this than labrun writes")
    content = parse_json(text)
    hints = tuple(str(hint) for hint in content["hints"])
    return Planted(str(content["fault"]), str(content["host"]), hints, int(content["given"]))


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


def with_hint(lab_name: str, rows: Sequence[Outcome], state: LabState) -> Report:
    """Return the failing paths and checks, without reasons, and the hints so far plus one more."""
    planted = require_planted(state).next_hint()
    remember(state, planted)
    between = [row for row in rows if section_of(row.section).scope is Scope.PATH]
    symptoms = [
        replace(row, why=None, fault=None, blamed=None, by_hand=()) for row in between if row.exit_code
    ]
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
