"""What a task may know about its run: the deadline, the request to stop, a turn to connect.

The runner sets a :class:`Pace` in each worker thread; code that waits gets it from :func:`pace`. Without
a runner (a script, a test) the default never stops and never expires.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from labrun.errors import UnreachableError

__all__ = ["Pace", "finishing", "pace", "paced"]

_TURN_POLL = 0.2


@dataclass(slots=True)
class Pace:
    """One host's share of a run: ``deadline`` on the monotonic clock, ``stopping`` set on Ctrl-C.

    ``turns`` limits how many hosts log in at the same time; None = no limit. ``is_over`` once the host has
    its result: a thread that still works on it must not begin anything.
    """

    deadline: float = math.inf
    stopping: threading.Event = field(default_factory=threading.Event)
    turns: threading.Semaphore | None = None
    is_over: bool = False

    def remaining(self, most: float = math.inf) -> float:
        """Return the seconds left until the deadline, at most ``most`` and never below 0."""
        return max(0.0, min(most, self.deadline - time.monotonic()))

    def extend(self, seconds: float) -> None:
        """Give the host at least ``seconds`` from now: it is rolling back, and the run waits for that."""
        self.deadline = max(self.deadline, time.monotonic() + seconds)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold one of the run's turns to connect; raises UnreachableError if the run ends first."""
        if self.turns is None:
            yield
            return
        while not self.turns.acquire(timeout=self.remaining(_TURN_POLL)):
            if self.stopping.is_set():
                raise UnreachableError("interrupted before its turn to connect", step="connect")
            if not self.remaining():
                raise UnreachableError("the time was up before its turn to connect", step="connect")
        try:
            yield
        finally:
            self.turns.release()


_UNLIMITED = Pace()
_current: ContextVar[Pace] = ContextVar("labrun_pace", default=_UNLIMITED)


def pace() -> Pace:
    """Return the pace of the run that this thread works for."""
    return _current.get()


@contextmanager
def paced(share: Pace) -> Iterator[None]:
    """Make ``share`` this thread's pace inside the block."""
    token = _current.set(share)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def finishing() -> Iterator[None]:
    """Finish work in progress: inside the block this host's share ignores the request to stop.

    The deadline still applies. A change that is being confirmed needs its retries most after Ctrl-C:
    without them the first refusal would roll back a change that is fine.
    """
    share = pace()
    if share is _UNLIMITED:
        yield  # the default is shared and never stops
        return
    request, share.stopping = share.stopping, threading.Event()
    try:
        yield
    finally:
        share.stopping = request
