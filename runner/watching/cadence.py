"""When the runs of a loop are due: at a fixed cadence, each a little later, none for one that was missed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from labrun.errors import UsageError
from labrun.inventory.duration import duration_seconds, is_duration

__all__ = ["Cadence", "cadence_of", "default_jitter", "seconds_of"]

_SHARE = 10  # the default jitter is this part of the cadence
_MOST = 60.0  # and no more than these seconds


@dataclass(frozen=True, slots=True)
class Cadence:
    """A run each ``every`` seconds, up to ``jitter`` seconds later; the same ``seed``, the same delays."""

    every: float
    jitter: float = 0.0
    seed: str = ""

    def due(self, number: int) -> float:
        """Return when a run is due, in seconds after the first one, which has number 0 and no delay."""
        return number * self.every + (self.jitter * self._share(number) if number else 0.0)

    def after(self, number: int, elapsed: float) -> int:
        """Return the number of the run that follows ``number`` when that ends after ``elapsed`` seconds.

        A run whose moment has passed by then is left out.
        """
        following = max(number + 1, int(elapsed // self.every))
        while self.due(following) < elapsed:
            following += 1
        return following

    def _share(self, number: int) -> float:
        digest = hashlib.sha256(f"{self.seed} {number}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


def default_jitter(every: float) -> float:
    """Return the jitter where nobody asks for one: a tenth of the cadence, at most a minute."""
    return min(every / _SHARE, _MOST)


def seconds_of(option: str, text: str, *, zero: bool = False) -> float:
    """Return the seconds of ``15m``, with ``zero`` also of ``0``. Raises UsageError that names the option."""
    if zero and text in ("0", "0s"):
        return 0.0
    if not is_duration(text):
        raise UsageError(f'{option}: "{text}" is no duration', hint="such as 30s, 15m or 2h")
    return float(duration_seconds(text))


def cadence_of(every: str, jitter: str | None, seed: str) -> Cadence:
    """Return the cadence of ``--every`` and ``--jitter``. Raises UsageError."""
    seconds = seconds_of("--every", every)
    delay = default_jitter(seconds) if jitter is None else seconds_of("--jitter", jitter, zero=True)
    if delay >= seconds:
        raise UsageError(f"--jitter: {jitter} is not less than every {every}", hint="0 means none")
    return Cadence(seconds, delay, seed)
