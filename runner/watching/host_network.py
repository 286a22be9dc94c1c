"""Make calls in the network that labrun was started in, and in bounded time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from labrun.errors import LabrunError
from labrun.hypervisor import leave_network

__all__ = ["in_host_network"]


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
    thread.join(seconds)
    if thread.is_alive():
        raise LabrunError(f"{what}: no answer within {seconds:g} s")
    if raised:
        raise raised[0]
