"""The record of a planted fault, encoded so that it is not read by accident."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from labrun.notices import notice
from labrun.state import LabState, write_private
from labrun.state_files import parse_json, read_or_begin_anew

if TYPE_CHECKING:
    from labrun.runner.engine.session import Session

__all__ = ["Planted", "forget", "on_hosts", "recall", "remember"]

_LARGEST = 64 * 1024


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
    found = parse_json(text)
    hints = tuple(str(hint) for hint in found["hints"])
    return Planted(str(found["fault"]), str(found["host"]), hints, int(found["given"]))


def forget(state: LabState) -> None:
    """Delete the record, if there is one. A failure does not undo the mending, and is said."""
    try:
        state.fault.unlink(missing_ok=True)
    except OSError as error:
        if os.path.lexists(state.fault):
            notice(f"cannot remove {state.fault}: {error.strerror}")


def on_hosts(
    session: Session, scripts: Mapping[str, str], *, silent: bool = False
) -> dict[str, dict[str, Any] | BaseException]:
    """Run each host's script on it. Return the task's dict or its exception, by host.

    ``silent`` shows no progress, which would reveal the hosts.
    """
    from labrun.runner.cli.progress import progress
    from labrun.runner.engine.nornir import cause_of
    from labrun.tasks.faults.task import SPEC, run_script
    from labrun.tasks.provision.planning import see_machines

    seen = see_machines(session.lab.name, session.uri) if session.uri else {}
    data: dict[str, dict[str, Any]] = {}
    for host, script in scripts.items():
        found = seen.get(host)
        machine = [found.kind, found.uri, session.lab.libvirt_name(host)] if found else None
        data[host] = {SPEC: {"script": script, "machine": machine}}
    hosts: Sequence[str] = tuple(data)
    limit = session.invocation.timeout or 90.0
    with ExitStack() as stack:
        if not silent:
            stack.enter_context(progress(hosts, session.invocation))
        located = session.locate()
        nornir = stack.enter_context(session.engine(located, data, hosts=hosts, deadline=limit))
        results = nornir.run(run_script)
        return {host: cause_of(done) or done[0].result for host, done in results.items()}
