"""The fleet's processes while it runs: start what is not there, look at what is, end it all."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from labrun.errors import HypervisorError, LabrunError
from labrun.runner.engine.fleet.certificates import CONTROLLER, Bundle, bundle
from labrun.runner.engine.fleet.model import Fleet, FleetFolder, Machine
from labrun.runner.engine.fleet.processes import Detached
from labrun.runner.engine.fleet.ssh import refused

if TYPE_CHECKING:
    from distributed import Client

    from labrun.runner.engine.shards.messages import Versions

__all__ = ["RunningFleet", "Seen"]

_SECONDS: Final = 60.0
_TICK: Final = 0.2


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker that the scheduler has: what it runs with, and how many shards it works on."""

    versions: Versions | None
    shards: int


@dataclass(frozen=True, slots=True)
class RunningFleet:
    """The processes of a fleet, on this machine and on the others."""

    fleet: Fleet
    folder: FleetFolder

    @property
    def files(self) -> Bundle | None:
        """Return the certificates of this end, None if SSH carries the connections."""
        return bundle(self.folder.certificates, CONTROLLER) if self.fleet.carried == "tls" else None

    @property
    def scheduler(self) -> Detached:
        """Return the scheduler, running or not."""
        return Detached(self.folder.root, "scheduler")

    def carrier(self, machine: Machine) -> Detached:
        """Return the ssh that carries a machine's ports and runs its worker, running or not."""
        return Detached(self.folder.root, f"ssh-{machine.word}")

    def start_scheduler(self) -> bool:
        """Start the scheduler, unless it runs, and wait until it answers. Return whether it was started.

        Raises LabrunError if it ends instead.
        """
        if self.scheduler.is_running:
            return False
        fleet = self.fleet
        command = [sys.executable, "-P", "-m", "labrun.runner.engine.fleet.scheduler"]
        command += [fleet.address, str(fleet.port)]
        if self.files is not None:
            command.append(str(self.folder.certificates))
        self.scheduler.start(command)
        self._await_scheduler()
        return True

    def _await_scheduler(self) -> None:
        fleet, until = self.fleet, time.monotonic() + _SECONDS
        while True:
            if not self.scheduler.is_running:
                words = self.scheduler.last_words().splitlines()
                self.scheduler.stop()
                where = f"{fleet.address}:{fleet.port}"
                raise LabrunError(f"the scheduler does not start on {where}: {words[-1] if words else ''}")
            try:
                self._client().close(timeout=2)
            except HypervisorError:
                if time.monotonic() > until:
                    self.scheduler.stop()
                    raise
                time.sleep(_TICK)
                continue
            return

    def start_worker(self, machine: Machine, command: list[str], client: Client) -> None:
        """Start a machine's worker with this command, and wait until the scheduler has it.

        Raises TransportError if ssh gets nowhere, LabrunError if the worker ends or does not come.
        """
        carrier = self.carrier(machine)
        carrier.stop()
        carrier.start(command)
        until = time.monotonic() + _SECONDS
        while machine.name not in self._names(client):
            if not carrier.is_running:
                words = carrier.last_words()
                carrier.stop()
                raise refused(machine, words, "its worker does not start")
            if time.monotonic() > until:
                words = carrier.last_words()
                carrier.stop()
                last = words.splitlines()[-1:] or ["it has nothing to say"]
                raise LabrunError(f"its worker does not come: {last[0]}", host=machine.name)
            time.sleep(_TICK)

    @staticmethod
    def _names(client: Client) -> Mapping[str, str]:
        from labrun.runner.engine.fleet.client import workers_of

        return workers_of(client)

    def seen(self, client: Client) -> Mapping[str, Seen]:
        """Return every worker that the scheduler has, by the name of its machine."""
        from labrun.runner.engine.fleet.work_here import versions_here
        from labrun.runner.engine.shards.codec import from_line

        names = self._names(client)
        answers: Mapping[str, Any] = client.run(versions_here, on_error="return")
        busy: Mapping[str, Any] = client.processing()
        return {
            name: Seen(
                from_line(answer) if isinstance(answer := answers.get(address), str) else None,
                len(busy.get(address, ())),
            )
            for name, address in names.items()
        }

    def _client(self) -> Client:
        from labrun.runner.engine.fleet.client import open_client

        return open_client(self.fleet.scheduler, self.files)
