"""Record one run in the history. Never fail the command: a write error is reported once."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from labrun.errors import LabrunError
from labrun.runner.cli.document import reason_of
from labrun.runner.cli.invocation import RunRecord
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import say
from labrun.runner.history import writing
from labrun.runner.history.paths import history_path
from labrun.runner.history.store import ForeignFileError, is_damaged, open_to_write, set_aside
from labrun.state_folders import UnavailableFolderError

if TYPE_CHECKING:
    from labrun.runner.cli.invocation import Invocation

__all__ = ["Recording"]

T = TypeVar("T")
_NO_ROOM = "(not kept: the hosts before it have filled the room of a run)\n"


class Recording(RunRecord):
    """Begin once the lab is known and end with the command's report; do nothing before and after.

    ``arguments`` is the command line as one line of shell. If the process dies in between, the run stays
    unfinished in the history.
    """

    is_kept = True

    def __init__(self, arguments: str = "") -> None:
        super().__init__()
        self.arguments = arguments
        self._evidence: dict[str, str] = {}
        self._room = writing.RUN_BYTES
        self._path: Path | None = None
        self._movable = False
        self._number: int | None = None
        self._beginning: writing.Beginning

    def again(self) -> Recording:
        """Return a recording for another run of the same command."""
        return Recording(self.arguments)

    def begin(self, invocation: Invocation, lab: str, digest: str | None) -> None:
        """Record the start of the run; ``digest`` is the lab file's, None without one."""
        try:
            self._path = history_path(invocation, lab)
        except UnavailableFolderError as error:
            self._complain(error)
            return
        # A path given by the user may be any file. In the state directory it can only be a damaged history.
        self._movable = invocation.history is None
        began = time.time() - invocation.seconds
        self._beginning = writing.Beginning(
            invocation.run, lab, invocation.command, self.arguments, digest, began
        )
        self._number = self._written(lambda connection: writing.begin(connection, self._beginning))

    @property
    def has_room(self) -> bool:
        """Tell whether the run can keep any more output."""
        return self._room > 0

    def attach(self, host: str, text: str | None) -> None:
        """Add a host's output. It is kept with the run, redacted and up to a size limit.

        None stands for output that nobody has put together, since there is no more room for it.
        """
        self._room -= len(text or "")
        self._evidence[host] = self._evidence.get(host, "") + (_NO_ROOM if text is None else text)

    def finish(self, report: Report, seconds: float) -> None:
        """Write the result of the run. Do nothing if its start could not be written."""
        if self._number is None:
            return
        number, self._number = self._number, None
        ending = writing.Ending(
            report.outcomes,
            seconds,
            report.exit_code,
            interrupted=report.interrupted,
            removed_lab=self.removed_lab,
            error=reason_of(report.error) if report.error is not None else None,
            uri=self.uri,
            evidence=self._evidence,
        )

        def write(connection: sqlite3.Connection) -> bool:
            # The history may have been set aside and recreated meanwhile.
            known = writing.has_begun(connection, number, self._beginning)
            target = number if known else writing.begin(connection, self._beginning)
            writing.finish(connection, target, ending)
            return True

        self._written(write)

    def _written(self, write: Callable[[sqlite3.Connection], T]) -> T | None:
        """Run ``write`` on the history. Return None, after a message, if that fails."""
        assert self._path is not None
        for again in (True, False):
            seen = self._seen()
            try:
                with contextlib.closing(open_to_write(self._path)) as connection:
                    return write(connection)
            except (sqlite3.Error, OSError, LabrunError) as error:
                if again and seen is not None and self._set_aside(error, seen):
                    continue
                self._complain(error)
                return None
        return None

    def _seen(self) -> os.stat_result | None:
        try:
            return self._path.stat() if self._path is not None else None
        except OSError:
            return None

    def _set_aside(self, error: Exception, seen: os.stat_result) -> bool:
        """Move a damaged history out of the way. Return whether a retry makes sense."""
        assert self._path is not None
        foreign = isinstance(error, ForeignFileError)
        damaged = isinstance(error, sqlite3.Error) and is_damaged(error)
        if not (damaged or (foreign and self._movable)):
            return False
        try:
            aside = set_aside(self._path, seen, foreign_too=self._movable)
        except (OSError, ForeignFileError):
            return False
        if aside is not None:
            say(
                f"the history {self._path} was damaged:"
                f" it was renamed to {aside.name}, and a new one is started"
            )
        return True

    def _complain(self, error: Exception) -> None:
        if isinstance(error, LabrunError):
            reason = error.reason
        else:
            errno_text = error.strerror if isinstance(error, OSError) else None
            reason = f"the history {self._path} cannot be written: {errno_text or error}"
        say(f"this run is not recorded: {reason}")
