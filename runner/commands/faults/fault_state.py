"""The record of a planted fault, encoded so that it is not read by accident."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from labrun.state import LabState, write_private
from labrun.state_files import parse_json, read_or_begin_anew

if TYPE_CHECKING:
    from labrun.ports import Completed
    from labrun.runner.engine.session import Session, TaskData

__all__ = ["Planted", "forget", "on_hosts", "recall", "remember"]

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
    return read_or_begin_anew(state.fault, _unpacked, nothing, largest=_LARGEST)


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
    """Delete the record, if there is one."""
    state.fault.unlink(missing_ok=True)


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
