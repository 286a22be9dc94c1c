"""Progress reports from worker threads: a logger, so that no callback has to be passed around."""

from __future__ import annotations

import logging
from dataclasses import dataclass

__all__ = ["LOGGER_NAME", "Amount", "draws", "report"]

LOGGER_NAME = "labrun.progress"
_logger = logging.getLogger(LOGGER_NAME)


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a stage is done, in ``unit`` (``MB``, ``%``); ``total`` is None where nobody knows it."""

    done: float
    total: float | None
    unit: str = "MB"

    def __str__(self) -> str:
        """Return it as people read it: ``12 of 48 MB, 25%``."""
        if self.unit == "%":
            return f"{self.share or 0.0:.0%}"
        if not self.total:
            return f"{self.done:.0f} {self.unit}"
        return f"{self.done:.0f} of {self.total:.0f} {self.unit}, {self.share:.0%}"

    @property
    def share(self) -> float | None:
        """Return the share that is done, 0 to 1; None where nobody knows the total."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total else None


def report(
    host: str,
    stage: str,
    detail: str = "",
    *,
    amount: Amount | None = None,
    limit: float | None = None,
    console: str = "",
) -> None:
    """Report that ``host`` has entered ``stage`` (a word or two), optionally with ``detail``.

    ``amount`` is how much of the stage is done, ``limit`` how many seconds it may take from its first report
    on, ``console`` the last line that the machine has shown.
    """
    suffix = f" ({detail})" if detail else ""
    extra = {
        "host": host,
        "stage": stage,
        "detail": detail,
        "amount": amount,
        "limit": limit,
        "console": console,
    }
    _logger.info("%s: %s%s", host, stage, suffix, extra=extra)


def draws() -> bool:
    """Tell whether a display is open that shows more than the stages, such as a machine's console."""
    return any(getattr(handler, "is_drawn", False) for handler in _logger.handlers)
