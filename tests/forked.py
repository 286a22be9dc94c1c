"""labrun loaded once and forked for every run, for tests that run it hundreds of times.

Each run is a process of its own, with the caller's arguments, directory, environment, umask and streams; only
the imports are done already. Run as a program this module is the process that is forked.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tests import namespaces

__all__ = ["run_forked"]

_LARGEST = 1 << 20  # bytes of one request
_NUMBER = 4  # bytes of a pid or a status


def run_forked(
    args: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: str,
    timeout: float,
    inside: tuple[str, str | int] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Do what ``subprocess.run([python, "-m", "labrun", *args])`` does, without the imports.

    ``inside`` names a function of :mod:`tests.namespaces`, called with its argument before labrun begins.
    """
    request = {"args": args, "cwd": str(cwd), "env": dict(env), "umask": _umask(), "inside": inside}
    ours, theirs = socket.socketpair()
    with ours, theirs, TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        streams = [each.fileno() for each in (given, out, err, theirs)]
        socket.send_fds(_server(), [json.dumps(request).encode()], streams)
        # With this end held here, nobody would hear that the process that is forked has ended.
        theirs.close()
        pid = _number(ours)
        ours.settimeout(timeout)
        try:
            status = _number(ours)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["labrun", *args], timeout) from None
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode())
    return subprocess.CompletedProcess(["labrun", *args], os.waitstatus_to_exitcode(status), *said)


def _umask() -> int:
    """Return this process's umask; to set it, only to see it, would let other threads see that."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("Umask:")), 8)


def _number(connection: socket.socket) -> int:
    data = connection.recv(_NUMBER, socket.MSG_WAITALL)
    assert len(data) == _NUMBER, "the process that is forked has ended: its words are on pytest's stderr"
    return int.from_bytes(data, "little")


_starting = threading.Lock()


def _server() -> socket.socket:
    with _starting:
        return _started()


@cache
def _started() -> socket.socket:
    """Start the process that is forked; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
        here = Path(__file__).resolve().parents[1]
        process = subprocess.Popen(command, cwd=here, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def end() -> None:
        ours.close()
        process.wait(60)

    atexit.register(end)
    return ours


def _serve(requests: socket.socket) -> Mapping[str, Any] | None:
    """Fork for every request; returns it in the process that is to run it, and None when no more come."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Ctrl-C is for pytest, which closes the socket then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, streams, _, _ = socket.recv_fds(requests, _LARGEST, _NUMBER)
        if not message:
            return None
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            requests.close()
            *standard, answers = streams
            pid = os.fork()
            if pid == 0:
                os.close(answers)
                for number, stream in enumerate(standard):
                    os.dup2(stream, number)
                    os.close(stream)
                found: Mapping[str, Any] = json.loads(message)
                return found
            with socket.socket(fileno=answers) as connection:
                connection.sendall(pid.to_bytes(_NUMBER, "little"))
                _, status = os.waitpid(pid, 0)
                # Whoever has waited for too long has gone.
                with contextlib.suppress(BrokenPipeError):
                    connection.sendall(status.to_bytes(_NUMBER, "little"))
            os._exit(0)
        for stream in streams:
            os.close(stream)


def main() -> None:
    """Load labrun, and become it whenever somebody asks."""
    import labrun

    for module in pkgutil.walk_packages(labrun.__path__, "labrun."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    # No run's collector touches, and thereby copies, what it shares with this process.
    gc.collect()
    gc.freeze()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        return
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    if request["inside"] is not None:
        name, argument = request["inside"]
        getattr(namespaces, name)(argument)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    # As at the start of Python: what they are, such as no terminal, was decided for others.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        old = getattr(sys, name)
        stream = os.fdopen(
            old.fileno(), mode, encoding=old.encoding, errors=old.errors, closefd=False, buffering=-1
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = ["labrun", *request["args"]]
    sys.path[0] = request["cwd"]
    try:
        runpy.run_module("labrun", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _leave(end)
        raise


def _leave(end: SystemExit) -> None:
    """End as Python does, but for taking every module apart: of a short run that is more than the half.

    Returns where Python itself has something to say: it does so best.
    """
    if end.code is not None and not isinstance(end.code, int):
        return
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit((end.code or 0) & 0xFF)


if __name__ == "__main__":
    main()
