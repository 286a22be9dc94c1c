"""Judge what each host reported on its own: a host that cannot be judged leaves the others' rows intact.

A guest may print anything. An exception raised while its output is read or judged ends here: as that host's
`unknown` rows, or as evidence that is dropped. So does judging that outlasts the run's time.
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
    """Limit the judging in the block to ``seconds``; None = more than any lab needs."""
    with paced(Pace(time.monotonic() + (seconds or _SECONDS))):
        yield


def guarded(host: str, judge: Callable[[], Iterable[_T]], unknown: Callable[[str], Iterable[_T]]) -> list[_T]:
    """Return the results of ``judge``; if it fails, the rows that ``unknown`` makes of the reason.

    ``judge`` may be a generator function: it is exhausted here.
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
    """Return the result of ``judge``; raise UnreadableError for any exception not raised on purpose."""
    try:
        return judge()
    except LabrunError:
        raise
    except Exception as error:
        # Deliberately broad: a guest's output must not end the run, whichever exception it causes.
        _log.debug("%s cannot be judged", what, exc_info=True)
        raise UnreadableError("labrun cannot make sense of it (-vv shows where)", step=what) from error
