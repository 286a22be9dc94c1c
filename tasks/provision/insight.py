"""Look inside a machine that is not ready yet: seldom, and only what stays so ends the wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from labrun.tasks.guest.reason import Reason

__all__ = ["Insight", "Look"]

Look = Callable[[str], Reason | None]
"""Tells why labrun cannot log in to the machine, None if nothing shows it; its input is what SSH said."""

_AT_ONCE = threading.BoundedSemaphore(2)
"""Looks at the same time: many machines that boot need the processors themselves."""


class Insight:
    """The looks at one machine: the first after ``first`` seconds, then after twice as long a pause each.

    As long as ``waits`` is true of what SSH says, something else has to come first, and nothing is looked at.
    """

    def __init__(
        self, look: Look | None, first: float, waits: Callable[[str], bool] = lambda _error: False
    ) -> None:
        self._look, self._first, self._waits = look, first, waits
        self._pause = first
        self._next = time.monotonic() + first
        self._before = ""

    def lasting(self, error: str) -> Reason | None:
        """Return the reason if it is certain and was so at the last look; None while waiting may help."""
        if self._look is None or time.monotonic() < self._next:
            return None
        if self._waits(error):
            self._next = time.monotonic() + self._first
            return None
        found = self.last(error)
        self._pause *= 2
        self._next = time.monotonic() + self._pause
        text = found.text if found is not None and found.is_sure else ""
        same, self._before = bool(text) and text == self._before, text
        return found if same else None

    def last(self, error: str) -> Reason | None:
        """Return what a look shows now, certain or not."""
        if self._look is None:
            return None
        with _AT_ONCE:
            return self._look(error)
