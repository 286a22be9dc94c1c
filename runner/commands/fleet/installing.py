"""``labrun fleet install``: the same labrun on every machine, and everything running."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.errors import LabrunError, UsageError
from labrun.hypervisor import leave_network
from labrun.outcome import Outcome, Status
from labrun.progress import report
from labrun.runner.cli.invocation import Invocation
from labrun.runner.commands.fleet.rows import error_row, fleet_row
from labrun.runner.engine.fleet.certificates import CONTROLLER, bundle, issue
from labrun.runner.engine.fleet.client import connected
from labrun.runner.engine.fleet.machine import Remote
from labrun.runner.engine.fleet.model import Fleet, FleetFolder, Machine
from labrun.runner.engine.fleet.running import RunningFleet, Seen
from labrun.runner.engine.fleet.wheel import Wheel, pins

if TYPE_CHECKING:
    from distributed import Client

    from labrun.runner.engine.shards.messages import Versions

__all__ = ["Installation", "LabKey", "lab_key_of"]

_AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class LabKey:
    """A lab's private key, and the name of its state directory, by which a worker finds it."""

    lab: str
    content: bytes


def lab_key_of(invocation: Invocation) -> LabKey:
    """Return the key of the invocation's lab. Raises UsageError if it has none."""
    from labrun.runner.engine.session import open_session

    state = open_session(invocation).state
    leave_network()  # what is started from here on belongs to the network that labrun was started in
    try:
        return LabKey(state.root.name, state.identity.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"the lab {state.lab} has no key yet", hint="`labrun up` makes it") from error


@dataclass(frozen=True, slots=True)
class Installation:
    """What is to be on the machines of a fleet."""

    fleet: Fleet
    folder: FleetFolder
    wheel: Wheel
    key: LabKey | None
    packages: Path | None = None

    def rows(self) -> list[Outcome]:
        """Install and start what is not there, on all machines at once. Return a row for each thing."""
        running = RunningFleet(self.fleet, self.folder)
        is_tls = self.fleet.carried == "tls"
        renewed = issue(self.folder.certificates, CONTROLLER) if is_tls else False
        if renewed:
            running.scheduler.stop()  # it has read the old one
        try:
            started = running.start_scheduler()
        except LabrunError as error:
            return [error_row("scheduler", error)]
        rows = [fleet_row("scheduler", _changed(started), self.fleet.scheduler)]
        with connected(self.fleet.scheduler, running.files) as client:
            seen = running.seen(client)
            with ThreadPoolExecutor(_AT_A_TIME) as pool:
                one = [
                    pool.submit(self._machine, running, machine, seen.get(machine.name), client)
                    for machine in self.fleet.machines
                ]
                return rows + [row for each in one for row in each.result()]

    def _machine(
        self, running: RunningFleet, machine: Machine, seen: Seen | None, client: Client
    ) -> list[Outcome]:
        remote = Remote(self.fleet, machine)
        rows: list[Outcome] = []

        def step(what: str, act: Callable[[], bool], actual: str | None = None) -> bool:
            report(machine.name, what)
            try:
                changed = act()
            except LabrunError as error:
                rows.append(error_row(f"{machine.name} {what}", error))
                return False
            rows.append(fleet_row(f"{machine.name} {what}", _changed(changed), actual))
            return True

        wheel, key, versions = self.wheel, self.key, pins(frozenset({"fleet"}))
        if not step("labrun", lambda: remote.install(wheel, versions, self.packages), wheel.folder):
            return rows
        if key is not None and not step("key", lambda: remote.put_key(key.lab, key.content), key.lab):
            return rows
        if self.fleet.carried == "tls" and not step("certificate", lambda: self._certificate(remote)):
            return rows
        is_new = any(row.status is Status.CHANGED and row.name.endswith("certificate") for row in rows)
        step("worker", lambda: self._worker(running, remote, None if is_new else seen, client))
        return rows

    def _certificate(self, remote: Remote) -> bool:
        word = remote.machine.word
        issue(self.folder.certificates, word)
        return remote.put_certificate(bundle(self.folder.certificates, word))

    def _worker(self, running: RunningFleet, remote: Remote, seen: Seen | None, client: Client) -> bool:
        if (
            seen is not None
            and seen.versions is not None
            and not _wanted(self.wheel).differences(seen.versions)
        ):
            return False
        if seen is not None and seen.shards:
            raise LabrunError(
                f"it works on {seen.shards} shard{'s' if seen.shards > 1 else ''}", hint="try again later"
            )
        running.start_worker(remote.machine, remote.worker_command(self.wheel.folder), client)
        return True


def _wanted(wheel: Wheel) -> Versions:
    from labrun.runner.engine.fleet.work_here import fleet_versions

    return replace(fleet_versions(), labrun=f"{wheel.version} (source {wheel.source})")


def _changed(changed: bool) -> Status:
    return Status.CHANGED if changed else Status.OK
