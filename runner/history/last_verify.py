"""A lab's last verify, for drawings and reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labrun.outcome import Outcome

if TYPE_CHECKING:
    from labrun.inventory.model import Lab
    from labrun.runner.history.reading import History

__all__ = ["LastVerify", "last_verify"]


@dataclass(frozen=True, slots=True)
class LastVerify:
    """One verify: its run ID, the SHA-256 of its lab file, its duration in seconds, and its rows."""

    run: str
    digest: str
    seconds: float
    rows: tuple[Outcome, ...]

    @property
    def when(self) -> str:
        """Return the start time as in its run ID: ``2026-11-20T16:00:00Z``."""
        return self.run.rpartition("-")[0] or self.run

    def is_of(self, lab: Lab) -> bool:
        """Return whether the lab file is unchanged since this verify."""
        return self.digest == lab.digest


def last_verify(history: History | None, uri: str) -> LastVerify | None:
    """Return the last verify on this hypervisor since the lab was created, None if there is none."""
    run = history.last("verify", uri=uri) if history is not None else None
    if history is None or run is None:
        return None
    return LastVerify(run.run, run.digest or "", run.seconds or 0.0, history.outcomes(run))
