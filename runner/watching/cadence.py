"""The schedule of a loop's runs: a fixed cadence, each run slightly delayed, missed runs skipped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from labrun.errors import UsageError
from labrun.inventory.duration import duration_seconds, is_duration

__all__ = ["Cadence", "cadence_of", "default_jitter", "seconds_of"]

_SHARE = 10  # divisor of the cadence for the default jitter
_MOST = 60.0  # upper bound of the default jitter in seconds


@dataclass(frozen=True, slots=True)
class Cadence:
    """A run every ``every`` seconds, up to ``jitter`` seconds late; ``seed`` makes the delays repeatable."""

    every: float
    jitter: float = 0.0
    seed: str = ""

    def due(self, number: int) -> float:
        """Return when a run is due, in seconds after the first one, which has number 0 and no delay."""
        return number * self.every + (self.jitter * self._share(number) if number else 0.0)

    def after(self, number: int, elapsed: float) -> int:
        """Return the number of the run that follows ``number`` if that ends after ``elapsed`` seconds.

        Runs that are past due by then are skipped.
        """
        following = max(number + 1, int(elapsed // self.every))
        while self.due(following) < elapsed:
            following += 1
        return following

    def _share(self, number: int) -> float:
        digest = hashlib.sha256(f"{self.seed} {number}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


def default_jitter(every: float) -> float:
    """Return the default jitter: a tenth of the cadence, at most a minute."""
    return min(every / _SHARE, _MOST)


def seconds_of(option: str, text: str, *, zero: bool = False) -> float:
    """Parse a duration such as ``15m``, with ``zero`` also ``0``. Raises UsageError that names the option."""
    if zero and text in ("0", "0s"):
        return 0.0
    if not is_duration(text):
        raise UsageError(f'{option}: "{text}" is not a duration', hint="such as 30s, 15m or 2h")
    return float(duration_seconds(text))


def cadence_of(every: str, jitter: str | None, seed: str) -> Cadence:
    """Return the cadence of ``--every`` and ``--jitter``. Raises UsageError."""
    seconds = seconds_of("--every", every)
    delay = default_jitter(seconds) if jitter is None else seconds_of("--jitter", jitter, zero=True)
    if delay >= seconds:
        raise UsageError(f"--jitter: {jitter} must be less than the interval {every}", hint="0 means none")
    return Cadence(seconds, delay, seed)
