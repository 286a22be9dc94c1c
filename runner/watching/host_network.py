"""What is done for other people: in the network labrun was started in, and in bounded time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from labrun.errors import LabrunError
from labrun.hypervisor import leave_network

__all__ = ["outside"]


def outside(call: Callable[[], None], *, seconds: float, what: str) -> None:
    """Call in a thread that is not in libvirtd's network, and wait for it no longer than ``seconds``.

    Raises what the call raises, and LabrunError when the time is over; the thread ends with labrun.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            leave_network()
            call()
        except Exception as error:  # noqa: BLE001 - carried to the thread that waits
            raised.append(error)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise LabrunError(f"{what}: no answer within {seconds:g} s")
    if raised:
        raise raised[0]
