"""Run the long commands of an image build: low priority, cancellable, with the last output lines kept."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from labrun.errors import LabrunError
from labrun.tasks.guest.scripts import hypervisor_script

__all__ = ["BuildCancelledError", "BuildError", "lifeline", "run_command"]

_logger = logging.getLogger(__name__)
_LAST_LINES = 15
_POLL = 0.2
_INSTALL = "run scripts/install"
# Each process asks to die with its parent first, and checks afterwards that the parent is alive: the kernel
# sends the signal only if the parent dies later. (unshare's --kill-child does not check.)
_PARENT_LIVES = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'
_AS_OUTER = 'setpriv --pdeathsig KILL -- sh -c "$0" labrun "$$" "$@"; exit $?'
_NAMESPACES = [
    *("unshare", "--mount", "--propagation", "private", "--pid", "--"),
    *("sh", "-c", _AS_OUTER, hypervisor_script("build_init")),
]


class BuildError(LabrunError):
    """Report a failed step of an image build, with the last lines of its output."""

    is_of_machine = True


class BuildCancelledError(LabrunError):
    """Report that an image build was cancelled."""


def run_command(
    argv: Sequence[str],
    *,
    step: str,
    feed: str = "",
    own_namespaces: bool = False,
    on_line: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Run ``argv`` to its end and pass each output line to ``on_line``.

    ``feed`` goes to its standard input. With ``own_namespaces`` it runs as init of new pid and mount
    namespaces: when it ends or is killed, all its processes and mounts are gone, even if labrun itself is
    killed. Raises :class:`BuildError`, or :class:`BuildCancelledError` once ``cancel`` is set.
    """
    process = _start([*_wrapper(own_namespaces), *argv], step)
    lines: SimpleQueue[str | None] = SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, feed, lines), daemon=True, name=f"image-{step}")
    reader.start()
    last: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        while (line := _next(lines, cancel, step)) is not None:
            if line:
                last.append(line)
                _logger.debug("%s: %s", step, line)
                if on_line is not None:
                    on_line(line)
        status = process.wait()
    except BaseException:
        _kill(process)
        raise
    finally:
        reader.join(timeout=5)
    if status != 0:
        output = "\n".join(last) or "it printed nothing"
        raise BuildError(f"{argv[0]} ended with status {status}:\n{output}", step=step)


def lifeline(parent: int) -> list[str]:
    """Return the command prefix that ends a command when its parent process ends."""
    return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _PARENT_LIVES, "labrun", str(parent)]


def _wrapper(own_namespaces: bool) -> list[str]:
    wrapper = [*lifeline(os.getpid()), "nice", "-n", "10"]
    return wrapper + _NAMESPACES if own_namespaces else wrapper


def _start(argv: Sequence[str], step: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    # Tools of daemons and file systems are in sbin, which a user's PATH may lack.
    environment["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"cannot run {argv[0]}: {error.strerror}", step=step, hint=_INSTALL) from error


def _read(process: subprocess.Popen[str], feed: str, lines: SimpleQueue[str | None]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    # The exit status of a process that ended without reading tells why.
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(feed)
    with process.stdout:
        for line in process.stdout:
            lines.put(line.rstrip())
    lines.put(None)


def _next(lines: SimpleQueue[str | None], cancel: threading.Event | None, step: str) -> str | None:
    while True:
        if cancel is not None and cancel.is_set():
            raise BuildCancelledError("stopped on request", step=step)
        try:
            return lines.get(timeout=_POLL)
        except Empty:
            continue


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
