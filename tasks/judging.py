"""Judging what hosts showed, each by itself: what cannot be judged of one leaves the others' rows alone.

A guest may print anything. Whatever the reading or judging of it raises ends here: as that host's unknown
rows, or as evidence that is left out. So does judging that goes on beyond the run's time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from labrun.errors import LabrunError, UnreadableError
from labrun.tasks.guest.deadline import Pace, pace, paced

__all__ = ["OVERDUE", "guarded", "judging_time", "understood"]

OVERDUE = "the time was up before this could be judged (--timeout allows more)"

_log = logging.getLogger(__name__)
_SECONDS = 300.0
_T = TypeVar("_T")


@contextmanager
def judging_time(seconds: float | None) -> Iterator[None]:
    """Let what is judged in the block take ``seconds`` at most, None = what no lab needs."""
    with paced(Pace(time.monotonic() + (seconds or _SECONDS))):
        yield


def guarded(host: str, judge: Callable[[], Iterable[_T]], unknown: Callable[[str], Iterable[_T]]) -> list[_T]:
    """Return what ``judge`` makes of what a host showed; where it cannot, what ``unknown`` makes of why.

    ``judge`` may be a generator's function: it is gone through here.
    """
    if not pace().remaining():
        return list(unknown(OVERDUE))
    try:
        return understood("what it showed", lambda: list(judge()))
    except UnreadableError as error:
        return list(unknown(error.on(host)))
    except LabrunError as error:
        return list(unknown(f"what {host} showed cannot be read: {error.reason}"))


def understood(what: str, judge: Callable[[], _T]) -> _T:
    """Return what ``judge`` does; raises UnreadableError for what is not raised on purpose in it."""
    try:
        return judge()
    except LabrunError:
        raise
    except Exception as error:
        # As broad as that: a guest's words must not end the run, in whatever way they would.
        _log.debug("%s cannot be judged", what, exc_info=True)
        raise UnreadableError("labrun cannot make sense of it (-vv shows where)", step=what) from error
