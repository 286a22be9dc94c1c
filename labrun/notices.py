"""What a person has to be told although nothing failed: one line each, which the command line shows bare."""

from __future__ import annotations

import logging

__all__ = ["LOGGER_NAME", "notice"]

LOGGER_NAME = "labrun.notices"
_logger = logging.getLogger(LOGGER_NAME)


def notice(text: str) -> None:
    """Tell this once, also with ``-q``; programs that use labrun as a library get a log record."""
    _logger.warning("%s", text)
