"""Run the user's command with the JSON document on its standard input, in bounded time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field

from labrun.errors import LabrunError
from labrun.runner.watching.host_network import in_host_network

__all__ = ["run_on_change"]

_SECONDS = 60.0
_STDERR = 2
_GRACE = 5.0  # to wait for the exit after SIGTERM, and after SIGKILL


@dataclass(slots=True)
class _Started:
    """The command, as the thread that waits sees it; ``lock`` is held while it is being started."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    process: subprocess.Popen[bytes] | None = None


def run_on_change(command: str, document: bytes, seconds: float = _SECONDS) -> None:
    """Run a shell command line, its output on stderr. Raises LabrunError if it fails or times out.

    On a timeout, or when labrun is interrupted, the command and its child processes are killed.
    """
    started = _Started()
    try:
        in_host_network(
            lambda: _run(command, document, seconds, started),
            seconds=seconds + 3 * _GRACE,
            what="--on-change",
        )
    except KeyboardInterrupt:
        # The lock waits for a command that is just being started.
        started.lock.acquire(timeout=_GRACE)
        if started.process is not None and started.process.returncode is None:
            _end(started.process)
        raise


def _run(command: str, document: bytes, seconds: float, started: _Started) -> None:
    stderr = _STDERR if sys.stderr is not None else subprocess.DEVNULL  # None: closed by the parent process
    with started.lock:
        # A new session, so that all of its child processes can be killed; stdout is for labrun's results.
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
        )
        started.process = process
    with process:
        try:
            process.communicate(document, timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            raise LabrunError(f"--on-change: the command did not finish within {seconds:g} s") from None
    if process.returncode != 0:
        raise LabrunError(f"--on-change: the command ended with {_ending(process.returncode)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate the command and its child processes, and kill those that remain."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
