"""A libvirtd of a test's own, which it may stop and end: others would wait for the one that they share."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

__all__ = ["OwnLibvirtd", "own_libvirtd"]

_NOBODY = 65534
_SECONDS = 20


@dataclass(frozen=True)
class OwnLibvirtd:
    """A libvirtd that runs; ``uri`` leads to it."""

    uri: str
    pid: int

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop it inside the block: it takes connections, as far as the kernel does, and says nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


@contextmanager
def own_libvirtd() -> Iterator[OwnLibvirtd]:
    """Run a libvirtd as nobody, whose files are in a directory of its own."""
    folder = Path(mkdtemp(prefix="labrun-libvirtd-"))  # short: the names of sockets end at 107 characters
    runtime, home = folder / "run", folder / "home"
    for each in (folder, runtime, home):
        each.mkdir(exist_ok=True)
        os.chown(each, _NOBODY, _NOBODY)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["libvirtd", "-p", str(folder / "pid")],
            user=_NOBODY,
            group=_NOBODY,
            extra_groups=[],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        uri = f"qemu+unix:///session?socket={runtime}/libvirt/libvirt-sock"
        _wait(uri, folder / "log")
        yield OwnLibvirtd(uri, process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.terminate()
        process.wait(_SECONDS)
        shutil.rmtree(folder)


def _wait(uri: str, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    command = ["virsh", "-c", uri, "version"]
    while subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS).returncode != 0:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
