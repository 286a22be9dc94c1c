"""Access to a running container through its namespaces, which needs neither network nor login."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from labrun.containers import container_init
from labrun.errors import ConnectionLostError, UnreachableError
from labrun.ports import Completed
from labrun.tasks.guest.output import require_size
from labrun.tasks.guest.scripts import wrapped

__all__ = ["NamespaceTransport", "entering", "run_shell"]

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_CHUNK = 64 * 1024
# A background process may keep the streams open after the script has ended (seconds).
_LINGER = 1.0
_POLL = 0.1


def entering(host: str, controller: int) -> list[str]:
    """Return the words in front of a command that runs as root inside the container.

    Raises UnreachableError if the container is not running.
    """
    init = container_init(controller)
    if init is None:
        raise UnreachableError("the container is not running", host=host, step="namespace")
    return ["nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "-C", "--"]


@dataclass(frozen=True, slots=True)
class NamespaceTransport:
    """Run scripts as root inside a container, by ``nsenter`` from the hypervisor itself."""

    host: str
    controller: int

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        """Feed ``script`` to ``/bin/sh`` in the container; ``sudo`` has no effect, it is root already.

        Raises UnreachableError if the container is off, ConnectionLostError if the script is still running
        after ``timeout`` seconds, UnreadableError if it prints too much; it is then killed.
        """
        del sudo
        return run_shell([*entering(self.host, self.controller), "/bin/sh", "-s"], script, timeout, self.host)


def run_shell(command: list[str], script: str, timeout: float, host: str) -> Completed:
    """Feed ``script`` to a shell that ``command`` starts on this machine, within the limits of a guest's."""
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
        # A group of its own, so that it can be killed with all that it has started.
        start_new_session=True,
    )
    with process, _killed_on_error(process):
        out, err = _conversation(process, wrapped(script).encode(), began + timeout, host)
        status = _ended(process, began + timeout, host)
    return Completed(
        status if status >= 0 else 128 - status,
        out.decode(errors="replace"),
        err.decode(errors="replace"),
        time.monotonic() - began,
    )


@contextlib.contextmanager
def _killed_on_error(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise


def _ended(process: subprocess.Popen[bytes], deadline: float, host: str) -> int:
    """Return the exit status; a script that has closed its streams may still be running."""
    try:
        return process.wait(timeout=max(_LINGER, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise _too_late(host) from error


def _too_late(host: str) -> ConnectionLostError:
    return ConnectionLostError("the script did not finish in time", host=host, step="namespace")


def _conversation(
    process: subprocess.Popen[bytes], unsent: bytes, deadline: float, host: str
) -> tuple[bytes, bytes]:
    """Feed the script and read both streams until they end, within the deadline and the limit of size."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    taken: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    ended: float | None = None
    with selectors.DefaultSelector() as ready:
        for stream in (process.stdin, *taken):
            os.set_blocking(stream.fileno(), False)
            ready.register(stream, selectors.EVENT_WRITE if stream is process.stdin else selectors.EVENT_READ)
        left = memoryview(unsent)
        while ready.get_map():
            now = time.monotonic()
            if now >= deadline:
                raise _too_late(host)
            if process.poll() is not None:
                ended = ended or now
                if now - ended > _LINGER:
                    break
            for key, _ in ready.select(min(_POLL, deadline - now)):
                if key.fileobj is process.stdin:
                    left = _fed(process.stdin, left)
                    if not left:
                        ready.unregister(process.stdin)
                        process.stdin.close()
                    continue
                stream = process.stdout if key.fileobj is process.stdout else process.stderr
                data = os.read(stream.fileno(), _CHUNK)
                if not data:
                    ready.unregister(stream)
                    continue
                taken[stream] += data
                out, err = taken[process.stdout], taken[process.stderr]
                require_size(len(out) + len(err), out=out, err=err)
    return bytes(taken[process.stdout]), bytes(taken[process.stderr])


def _fed(stdin: IO[bytes], left: memoryview) -> memoryview:
    try:
        return left[os.write(stdin.fileno(), left[:_CHUNK]) :]
    except BlockingIOError:
        return left
    except BrokenPipeError:
        # The shell ended before it had read everything; its exit status says why.
        return memoryview(b"")
