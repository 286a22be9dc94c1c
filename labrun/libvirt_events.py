"""What libvirt tells of machines by itself: starts, ends, restarts, pauses, and guest agents that answer.

Events come over a connection of their own: they need libvirt's event loop, which must be there before the
connection is opened, and the other connections of a process should not depend on it. Where there are no
events (yet), nobody notices but by `is_live`: whoever waits asks from time to time, as without them.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from importlib import import_module
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import as_hypervisor_error, connect_apart

__all__ = ["Followed", "follow"]

_lock = threading.Lock()
_listeners: dict[str, _Listener] = {}
_loop: list[threading.Thread] = []


class Followed:
    """One machine, as libvirt tells of it from the moment on at which it is first followed."""

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        self._changed = threading.Condition()
        self._count = 0
        self._restarts = 0

    @property
    def is_live(self) -> bool:
        """Tell whether events come at all: what is not told then has not happened."""
        return self._listener.is_live.is_set()

    @property
    def count(self) -> int:
        """Return how many events there were so far."""
        return self._count

    @property
    def restarts(self) -> int:
        """Return how often the guest has restarted by itself."""
        return self._restarts

    def wait(self, count: int, seconds: float) -> None:
        """Wait until there were other than ``count`` events, for at most ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != count, seconds)

    def heard(self, *, restart: bool) -> None:
        """Take note of an event."""
        with self._changed:
            self._count += 1
            self._restarts += int(restart)
            self._changed.notify_all()


class _Listener:
    """The events of one hypervisor, handed to whoever follows their machine."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.is_live = threading.Event()
        self.machines: dict[str, Followed] = defaultdict(lambda: Followed(self))
        # A hypervisor that is silent must not keep anybody waiting who only asks for its events.
        threading.Thread(target=self._listen, name="labrun-events", daemon=True).start()

    def _listen(self) -> None:
        import libvirt

        try:
            _run_loop()
            connection = connect_apart(self._uri)
            connection.registerCloseCallback(self._lost, None)
            for kind, callback in (
                (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._changed),
                (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._rebooted),
                (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._changed),
            ):
                connection.domainEventRegisterAny(None, kind, callback, None)
        except HypervisorError:
            return
        except Exception as error:
            # Drivers that know no events, and a connection that is lost meanwhile.
            if as_hypervisor_error(error) is None:
                raise
            return
        self.is_live.set()

    def _lost(self, *_about: Any) -> None:
        # From now on whoever waits has to ask.
        self.is_live.clear()

    def _changed(self, _connection: Any, domain: Any, *_about: Any) -> None:
        self._tell(domain, restart=False)

    def _rebooted(self, _connection: Any, domain: Any, *_about: Any) -> None:
        self._tell(domain, restart=True)

    def _tell(self, domain: Any, *, restart: bool) -> None:
        followed = self.machines.get(domain.name())
        if followed is not None:
            followed.heard(restart=restart)


def _run_loop() -> None:
    """Start the thread in which libvirt handles its events, once in a process."""
    with _lock:
        if _loop:
            return
        # The C functions themselves: calls through libvirt's module have a helper thread and a time limit.
        library = import_module("libvirtmod")
        library.virEventRegisterDefaultImpl()
        thread = threading.Thread(target=_handle, args=(library,), name="labrun-event-loop", daemon=True)
        _loop.append(thread)
        thread.start()


def _handle(library: Any) -> None:
    while library.virEventRunDefaultImpl() == 0:
        pass


def follow(uri: str, domain: str) -> Followed:
    """Return what libvirt tells of a machine, by its name in libvirt; a connection is opened on first use."""
    with _lock:
        listener = _listeners.get(uri)
        if listener is None:
            listener = _listeners[uri] = _Listener(uri)
        return listener.machines[domain]


def _forget() -> None:
    _listeners.clear()
    _loop.clear()


# The threads that handle events are not in a child.
os.register_at_fork(after_in_child=_forget)
