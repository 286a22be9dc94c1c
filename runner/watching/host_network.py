"""Make calls in the network that labrun was started in, and in bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from labrun.errors import LabrunError
from labrun.hypervisor import leave_network

__all__ = ["in_host_network"]

_LONGEST_WAIT = 0.5  # seconds until Ctrl-C is heard in any case


def in_host_network(call: Callable[[], None], *, seconds: float, what: str) -> None:
    """Call in a thread outside libvirtd's network, and wait at most ``seconds`` for it.

    Raises the call's exception, and LabrunError on a timeout; the thread then ends with labrun.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            leave_network()
            call()
        except Exception as error:  # noqa: BLE001 - re-raised in the waiting thread
            raised.append(error)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    until = time.monotonic() + seconds
    # A signal that comes just before the wait begins does not end the wait: so none is long.
    while thread.is_alive() and (left := until - time.monotonic()) > 0:
        thread.join(min(left, _LONGEST_WAIT))
    if thread.is_alive():
        raise LabrunError(f"{what}: no answer within {seconds:g} s")
    if raised:
        raise raised[0]
