"""A scheduler and workers as processes of this machine, on loopback, for the tests of the engine ``dask``."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from labrun.runner.engine.fleet.certificates import CONTROLLER, Bundle, bundle, issue, make_authority
from labrun.runner.engine.shards.dask_engine import DaskEngine
from tests.loopback_sshd import free_port

__all__ = ["LocalFleet", "certificates", "local_fleet", "program"]

_PROGRAMS = "labrun.runner.engine.fleet"
_SECONDS = 180
_SECONDS_TO_END = 1


@dataclass(frozen=True, slots=True)
class LocalFleet:
    """Where the scheduler listens, and the processes by their names."""

    port: int
    scheduler: subprocess.Popen[bytes]
    workers: Mapping[str, subprocess.Popen[bytes]]
    files: Bundle | None = None

    def engine(self) -> DaskEngine:
        """Return a new engine of this fleet, not yet started."""
        return DaskEngine("127.0.0.1", self.port, self.files)

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """Return all of them."""
        return [self.scheduler, *self.workers.values()]


def certificates(folder: Path) -> Path:
    """Make an authority with certificates of a controller and a worker in the folder, and return it."""
    make_authority(folder)
    issue(folder, CONTROLLER)
    issue(folder, "worker")
    return folder


@contextmanager
def program(name: str, log: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of the fleet's programs until the block ends; it has an input that does not."""
    command = [sys.executable, "-P", "-m", f"{_PROGRAMS}.{name}", *arguments]
    # What one that is killed leaves behind goes with the test's own files.
    env = {**os.environ, "TMPDIR": str(log.parent), **variables}
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=errors, stderr=errors, env=env)
    try:
        yield process
    finally:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.terminate()
        try:
            # A scheduler would wait for workers that a test has killed; nothing is left to be told.
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def local_fleet(
    folder: Path,
    *names: str,
    tls: Path | None = None,
    variables: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[LocalFleet]:
    """Run a scheduler and workers of these names; ``variables`` are those of a worker's environment."""
    port, own = free_port(), [str(tls)] if tls is not None else []
    address = f"{'tls' if own else 'tcp'}://127.0.0.1:{port}"
    with ExitStack() as stack:
        arguments = ["127.0.0.1", str(port), *own]
        scheduler = stack.enter_context(program("scheduler", folder / "scheduler.log", *arguments))
        _await(port, scheduler)
        workers = {}
        for name in names:
            arguments = [str(folder / "keys"), address, "127.0.0.1", str(free_port()), name, *own]
            more = dict((variables or {}).get(name, {}))
            log = folder / f"{name}.log"
            workers[name] = stack.enter_context(program("worker", log, *arguments, **more))
        for name in names:
            _await_words(folder / f"{name}.log", "Registered to", workers[name])
        yield LocalFleet(port, scheduler, workers, bundle(tls, CONTROLLER) if tls is not None else None)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the scheduler does not listen")


def _await_words(log: Path, words: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and process.poll() is None:
        if words in log.read_text(encoding="utf-8", errors="replace"):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no {words!r} in {log.read_text(encoding='utf-8', errors='replace')}")
