"""What is shown of a machine while it is waited for: its stage, how long that may take, its last words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from labrun.errors import LabrunError
from labrun.progress import draws, report
from labrun.tasks.provision.driver import Driver

__all__ = ["ConsoleWatch", "slow_because"]

_EVERY = 3.0
_AT_ONCE = threading.BoundedSemaphore(2)
"""Consoles read at the same time: many machines that boot need the processors themselves."""


class ConsoleWatch:
    """The stages of one host, with the last line of its console where a display has room for that.

    ``read()`` returns that line, and is called every few seconds at most, and only while a display is open.
    ``note`` is said at each stage, for instance why it takes long.
    """

    def __init__(self, host: str, read: Callable[[], str] = str, note: str = "") -> None:
        self._host, self._read, self._note = host, read, note
        self._stage, self._detail, self._line = "", "", ""
        self._next = time.monotonic() + _EVERY

    def enter(self, stage: str, detail: str = "", limit: float | None = None) -> None:
        """Report a stage, which may take ``limit`` seconds."""
        self._stage, self._detail = stage, ", ".join(filter(None, (detail, self._note)))
        report(self._host, stage, self._detail, limit=limit, console=self._line)

    def look(self) -> None:
        """Show what the console says now, if it says something else than at the last look."""
        if time.monotonic() < self._next or not draws() or not _AT_ONCE.acquire(blocking=False):
            return
        try:
            line = self._read().strip()
        except LabrunError:
            line = ""
        finally:
            _AT_ONCE.release()
            self._next = time.monotonic() + _EVERY
        if line and line != self._line:
            self._line = line
            report(self._host, self._stage, self._detail, console=line)


def slow_because(kind: str, driver: Driver) -> str:
    """Return why a boot takes minutes with this kind of driver (``lxc``, ``qemu``), empty if it does not."""
    if kind != "qemu":
        return ""
    from labrun.tasks.provision.qemu import QemuDriver

    emulated = isinstance(driver, QemuDriver) and not driver.kvm().usable
    return "emulated: minutes are normal" if emulated else ""
