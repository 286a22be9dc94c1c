"""Select the log lines for stderr: labrun's warnings, with -v its steps, with -vv everything."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from labrun.notices import LOGGER_NAME as NOTICES
from labrun.progress import LOGGER_NAME
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.terminal import say

__all__ = ["log_to_stderr"]

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage() if record.name == NOTICES else self.format(record))


@contextmanager
def log_to_stderr(invocation: Invocation) -> Iterator[None]:
    """Show log records for the duration of one command, and restore the loggers afterwards.

    Nornir and paramiko log a host's traceback as an error, which Python would print if there were no
    handler. The results table has a better message, so theirs are shown only with -vv.
    """
    root, labrun_logger = logging.getLogger(), logging.getLogger("labrun")
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    target = root if invocation.verbosity >= 2 else labrun_logger
    silent = logging.NullHandler()
    before = [(logger, logger.level, logger.propagate) for logger in (root, labrun_logger)]
    root.addHandler(silent)
    target.addHandler(handler)
    target.setLevel(_LEVELS[invocation.verbosity])
    # Progress has its own display and would be shown twice.
    handler.addFilter(lambda record: record.name != LOGGER_NAME)
    logging.getLogger(LOGGER_NAME).setLevel(logging.INFO)
    logging.getLogger(NOTICES).setLevel(logging.WARNING)
    try:
        yield
    finally:
        target.removeHandler(handler)
        root.removeHandler(silent)
        for logger, level, propagate in before:
            logger.setLevel(level)
            logger.propagate = propagate
