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
    """One verify: its run ID, the SHA-256 of the lab file it was about, seconds taken, and its rows."""

    run: str
    digest: str
    seconds: float
    rows: tuple[Outcome, ...]

    @property
    def when(self) -> str:
        """Return the time at which it began, as in its run ID: ``2026-11-20T16:00:00Z``."""
        return self.run.rpartition("-")[0] or self.run

    def is_of(self, lab: Lab) -> bool:
        """Tell whether the lab file is still as it was then."""
        return self.digest == lab.digest


def last_verify(history: History | None, uri: str) -> LastVerify | None:
    """Return the last verify on this hypervisor since the lab was made, None where there was none."""
    run = history.last("verify", uri=uri) if history is not None else None
    if history is None or run is None:
        return None
    return LastVerify(run.run, run.digest or "", run.seconds or 0.0, history.outcomes(run))
