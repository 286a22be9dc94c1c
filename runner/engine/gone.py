"""Machines that end while a run works on their hosts: libvirt tells of it, where SSH waits for an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labrun.errors import HypervisorError

if TYPE_CHECKING:
    from labrun.tasks.provision.planning import SeenMachine

__all__ = ["GoneMachines"]

_FIRST = 2.0
"""Most runs are over before: they never ask libvirt."""
_GRACE = 3.0
"""How long a machine may be off: whoever cuts its power may start it again, and containers restart so."""
_POLL = 0.2


class GoneMachines:
    """The machines of ``hosts`` that are off or removed; ``seen`` returns the lab's machines as they are.

    An error of the hypervisor ends the watch alone: the run then ends by its own limits.
    """

    def __init__(self, lab: str, hosts: Iterable[str], seen: Callable[[], Mapping[str, SeenMachine]]) -> None:
        self._lab, self._hosts, self._seen = lab, frozenset(hosts), seen
        self._why: dict[str, str] = {}
        self._over = threading.Event()

    def why(self, host: str) -> str:
        """Return what has become of the host's machine, empty while it is there. Asks nobody."""
        return self._why.get(host, "")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the machines inside the block."""
        if not self._hosts:
            yield
            return
        threading.Thread(target=self._watch, name="labrun-gone", daemon=True).start()
        try:
            yield
        finally:
            self._over.set()

    def _watch(self) -> None:
        if self._over.wait(_FIRST):
            return
        try:
            found = self._seen()
            self._follow({host: _Machine(found[host], self._lab) for host in self._hosts & found.keys()})
        except HypervisorError:
            self._why.clear()

    def _follow(self, machines: Mapping[str, _Machine]) -> None:
        off_since: dict[str, float] = {}
        while not self._over.wait(_POLL):
            for host, machine in machines.items():
                if machine.is_there():
                    off_since.pop(host, None)
                    self._why.pop(host, None)
                elif time.monotonic() - off_since.setdefault(host, time.monotonic()) >= _GRACE:
                    self._why[host] = machine.fate


class _Machine:
    """One machine: libvirt is asked when it has told of a change, or is not there to tell."""

    def __init__(self, seen: SeenMachine, lab: str) -> None:
        from labrun.libvirt_events import follow
        from labrun.tasks.provision.standing import MachineStanding

        self._uri, self._name, self._lab = seen.uri, seen.machine.full_name, lab
        self._standing = MachineStanding(follow(seen.uri, self._name), self._ask)
        self.fate = ""

    def is_there(self) -> bool:
        return self._standing.is_running()

    def _ask(self) -> bool:
        from labrun.hypervisor import connect, translated
        from labrun.tasks.provision.domains import find_domain, state_of
        from labrun.tasks.provision.state_reasons import reason_of

        with translated("observe"):
            domain = find_domain(connect(self._uri), self._name, self._lab)
            state = "removed" if domain is None else state_of(domain)
            # A paused one goes on: a snapshot is being made.
            if state in ("running", "paused"):
                return True
            reason = "" if domain is None else reason_of(domain)
        self.fate = "removed" if domain is None else f"stopped ({reason})" if reason else "stopped"
        return False
