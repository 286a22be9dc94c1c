"""How work that runs in threads tells how far it is: a logger, so that nobody needs a callback."""

from __future__ import annotations

import logging

__all__ = ["LOGGER_NAME", "report"]

LOGGER_NAME = "labrun.progress"
_logger = logging.getLogger(LOGGER_NAME)


def report(host: str, stage: str, detail: str = "") -> None:
    """Announce that ``host`` has entered ``stage`` (a word or two); ``detail`` may say more."""
    suffix = f" ({detail})" if detail else ""
    _logger.info("%s: %s%s", host, stage, suffix, extra={"host": host, "stage": stage, "detail": detail})
