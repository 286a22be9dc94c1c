"""The fleet's processes on this machine: its scheduler, and one ssh for each machine. They outlive labrun."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from labrun.errors import LabrunError
from labrun.runner.history.processes import is_running, process_of
from labrun.state_files import read_file, write_private

__all__ = ["Detached"]

_SECONDS_TO_END: Final = 20.0
_TICK: Final = 0.05
_LAST_WORDS: Final = 4000  # characters of a log


@dataclass(frozen=True, slots=True)
class Detached:
    """A process that was started once and is known by a file in ``folder``: at most one of each name."""

    folder: Path
    name: str

    @property
    def log(self) -> Path:
        """Return the file that its errors go to."""
        return self.folder / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return self.folder / f"{self.name}.process"

    @property
    def is_running(self) -> bool:
        """Return whether it runs: that very process, and not another with its number."""
        return is_running(self._known())

    def _known(self) -> str:
        data = read_file(self._record)
        return "" if data is None else data.decode("ascii", "replace").strip()

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start it in a session of its own, with an input that never ends. Raises LabrunError."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(
                command,
                stdin=_endless(),
                stdout=descriptor,
                stderr=descriptor,
                env=dict(environment) if environment is not None else None,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise LabrunError(f"cannot start {command[0]}: {error.strerror}") from error
        finally:
            os.close(descriptor)
        # Popen complains about a process that outlives it, unless its return code is known.
        process.returncode = 0
        write_private(self._record, f"{process_of(process.pid) or ''}\n")

    def last_words(self) -> str:
        """Return the end of its log."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:].strip()
        except OSError:
            return ""

    def stop(self) -> bool:
        """End it, after a while by force, and return whether it was running. Its files go, too."""
        known = self._known()
        was_running = is_running(known)
        if was_running:
            pid = int(known.split(" ")[1])
            for number, seconds in ((signal.SIGTERM, _SECONDS_TO_END), (signal.SIGKILL, _SECONDS_TO_END)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                if self._has_ended(known, pid, seconds):
                    break
        self._record.unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        return was_running

    @staticmethod
    def _has_ended(known: str, pid: int, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while is_running(known) and time.monotonic() < until:
            time.sleep(_TICK)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # if this very labrun has started it
        return not is_running(known)


def _endless() -> int:
    """Return a descriptor to read from that never comes to an end while a process has it.

    A worker ends with its input: so it ends with the ssh that started it, however that ends.
    """
    with tempfile.TemporaryDirectory(prefix="labrun-fleet-") as folder:
        path = Path(folder, "input")
        os.mkfifo(path, 0o600)
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
