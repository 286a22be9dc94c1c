"""Notices to the user about things that are not failures. The command line shows each as one bare line."""

from __future__ import annotations

import logging

__all__ = ["LOGGER_NAME", "notice"]

LOGGER_NAME = "labrun.notices"
_logger = logging.getLogger(LOGGER_NAME)


def notice(text: str) -> None:
    """Show a notice, even with ``-q``. Programs that use labrun as a library get a log record."""
    _logger.warning("%s", text)
