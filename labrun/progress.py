"""Progress reports from worker threads: a logger, so that no callback has to be passed around."""

from __future__ import annotations

import logging

__all__ = ["LOGGER_NAME", "report"]

LOGGER_NAME = "labrun.progress"
_logger = logging.getLogger(LOGGER_NAME)


def report(host: str, stage: str, detail: str = "") -> None:
    """Report that ``host`` has entered ``stage`` (a word or two), optionally with ``detail``."""
    suffix = f" ({detail})" if detail else ""
    _logger.info("%s: %s%s", host, stage, suffix, extra={"host": host, "stage": stage, "detail": detail})
