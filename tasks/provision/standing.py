"""Whether a machine still runs while it is waited for: asked anew when libvirt tells of a change."""

from __future__ import annotations

import time
from collections.abc import Callable

from labrun.libvirt_events import Followed

__all__ = ["MachineStanding"]

_ASK_AGAIN = 1.0
"""Where libvirt tells nothing by itself: how often it is asked, in seconds."""
_RESTART_SECONDS = 3.0
"""How long a container may be off between the end and the start of its own restart."""
_POLL = 0.2


class MachineStanding:
    """The state of one machine: what ``events`` tell, and ``runs()``, which asks libvirt whether it runs."""

    def __init__(self, events: Followed, runs: Callable[[], bool]) -> None:
        self._events, self._runs = events, runs
        self._known: bool | None = None
        self._asked = 0.0
        self._count = -1
        self._was_live = False
        self._restarts_before = events.restarts

    def is_running(self) -> bool:
        """Tell whether the machine is running, or about to be again after a restart of its own."""
        if self._known is None or self._is_stale():
            self._known = self._ask()
            deadline = time.monotonic() + _RESTART_SECONDS
            while not self._known and self.restarts() and time.monotonic() < deadline:
                self.pause(_POLL)
                self._known = self._ask()
        return self._known

    def _is_stale(self) -> bool:
        if self._count != self._events.count:
            return True
        # What happened before the events came was not told.
        if self._events.is_live and self._was_live:
            return False
        return time.monotonic() - self._asked >= _ASK_AGAIN

    def _ask(self) -> bool:
        # Before the question: what happens meanwhile makes it be asked again.
        self._count, self._was_live, self._asked = (
            self._events.count,
            self._events.is_live,
            time.monotonic(),
        )
        return self._runs()

    def restarts(self) -> int:
        """Return how often the guest has restarted by itself since it is waited for."""
        return self._events.restarts - self._restarts_before

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until libvirt tells something of the machine."""
        self._events.wait(max(self._count, 0), seconds)
