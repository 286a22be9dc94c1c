"""What a task may know of the run it is part of: its deadline, the wish to stop, a turn to connect.

The runner sets a :class:`Pace` in each worker thread; code that waits asks :func:`pace` for it. Where
no runner is at work (a script, a test) the default never stops and never ends.
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
    """One host's share of a run: ``deadline`` on the monotonic clock, ``stopping`` once Ctrl-C came.

    ``turns`` limits how many hosts shake hands at once; None = no limit.
    """

    deadline: float = math.inf
    stopping: threading.Event = field(default_factory=threading.Event)
    turns: threading.Semaphore | None = None

    def remaining(self, most: float = math.inf) -> float:
        """Return the seconds left until the deadline, at most ``most`` and never below 0."""
        return max(0.0, min(most, self.deadline - time.monotonic()))

    def extend(self, seconds: float) -> None:
        """Give the host at least ``seconds`` from now: it is going back, and that is waited for."""
        self.deadline = max(self.deadline, time.monotonic() + seconds)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold one of the run's turns to connect; raises UnreachableError when the run ends first."""
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
    """Bring to its end what has begun: inside the block this host's share does not hear the wish to stop.

    Its deadline stays. A change that is being confirmed needs its further tries most when somebody
    has pressed Ctrl-C: with the first refusal it would be taken back, good as it is.
    """
    share = pace()
    if share is _UNLIMITED:
        yield  # everybody's: and it never stops
        return
    heard, share.stopping = share.stopping, threading.Event()
    try:
        yield
    finally:
        share.stopping = heard
