"""What interrupted test runs have left on this machine: known by marks, and removed before the next run.

Every process that a run starts has :data:`RUN` in its environment, and every lab that it makes is noted,
with the run, beside the labs of its hypervisor. A run that has ended by itself leaves neither. Nothing
without such a mark is touched, and nothing of a run that is still going.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import libvirt
import pytest

from labrun.errors import HypervisorError
from labrun.ownership import read_tag
from labrun.tasks.provision.driver_registry import driver_for

__all__ = [
    "RUN",
    "begin_run",
    "end_run",
    "forget",
    "lab_name",
    "note",
    "remove_leftovers",
    "without_leftovers",
]

RUN = "TEST_RUN_OF_LABRUN"
"""The variable that names the run: pid and start of pytest's first process, which workers inherit."""
NOTES = Path("/var/lib/labrun/test-labs")
"""A file for each lab or other object of libvirt that a run makes, with the run in it."""
_URIS = ("lxc:///system", "qemu:///system")
_LAB = re.compile(r"^name: *([a-z0-9-]+) *$", re.MULTILINE)
_START_FIELD = 19  # of /proc/PID/stat, counted behind the name of the program: proc(5)
_END_SECONDS = 30.0
_DOWN_SECONDS = 600


def begin_run() -> None:
    """Mark what this process starts from now on."""
    os.environ[RUN] = f"{os.getpid()}-{_started(os.getpid())}"


def end_run() -> None:
    """Remove what this run has made and not removed, and what it has noted."""
    if NOTES.is_dir():
        # Without libvirtd the notes stay, for the next run.
        with _alone(), suppress(libvirt.libvirtError, HypervisorError):
            _remove_noted(lambda run: run == os.environ[RUN])


def lab_name(file: Path) -> str | None:
    """Return the name of the lab in a file, None where it has none that could be one."""
    found = _LAB.search(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
    return found and found[1]


def note(name: str) -> str:
    """Note that this run makes the lab, or one domain, network or filter, of this name; returns the name."""
    NOTES.mkdir(parents=True, exist_ok=True)
    (NOTES / name).write_text(os.environ[RUN], encoding="ascii")
    return name


def forget(name: str) -> None:
    """Forget what :func:`note` has noted: it is removed."""
    if name:
        (NOTES / name).unlink(missing_ok=True)


def remove_leftovers() -> list[str]:
    """Remove what runs that are over have left; returns the names of labs and objects and the pids.

    Whoever calls it meanwhile waits until the first is done.
    """
    with _alone():
        ended = [str(pid) for pid in _end_processes()]
        return [*ended, *_remove_noted(lambda run: not _is_going(run))]


@pytest.fixture(scope="session", autouse=True)
def without_leftovers() -> None:
    """Begin on a machine without labs and processes of runs that were interrupted."""
    removed = remove_leftovers()
    if removed:
        sys.stderr.write(f"removed, of an earlier run: {', '.join(removed)}\n")


@contextmanager
def _alone() -> Iterator[None]:
    NOTES.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(NOTES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_noted(of_run: Callable[[str], bool]) -> list[str]:
    """Remove the labs and objects that runs of a kind have noted; returns those that were there."""
    removed = []
    for path in sorted(NOTES.iterdir()):
        # Another process of the run that noted it may have just forgotten it.
        with suppress(FileNotFoundError):
            if of_run(path.read_text(encoding="ascii")):
                if _take_down(path.name):
                    removed.append(path.name)
                forget(path.name)
    return removed


def _started(pid: int) -> str | None:
    """Return when a process has started, in ticks since boot; None for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = status.rpartition(")")[2].split()
    return None if state in "ZX" else fields[_START_FIELD - 1]


def _is_going(run: str) -> bool:
    pid, _, start = run.partition("-")
    return pid.isdigit() and _started(int(pid)) == start


def _end_processes() -> list[int]:
    """Kill the processes of runs that are over, and wait for their end."""
    ended = [pid for pid, run in _marked() if not _is_going(run)]
    for pid in ended:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _END_SECONDS
    while any(_started(pid) is not None for pid in ended):
        assert time.monotonic() < deadline, f"processes of an earlier run do not end: {ended}"
        time.sleep(0.05)
    return ended


def _marked() -> Iterator[tuple[int, str]]:
    mark = f"{RUN}=".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # Those of other users, and those that are just ending.
        with suppress(OSError):
            for variable in (entry / "environ").read_bytes().split(b"\0"):
                if variable.startswith(mark):
                    yield int(entry.name), variable.removeprefix(mark).decode(errors="replace")


def _take_down(name: str) -> bool:
    """Remove a lab with its disks and mounts, or the object of this name; tells whether one was there."""
    connections = [libvirt.open(uri) for uri in _URIS]
    try:
        found = any([*_tagged(connection, name), *_named(connection, name)] for connection in connections)
        if any(_tagged(connection, name) for connection in connections):
            environment = {key: value for key, value in os.environ.items() if not key.startswith("LABRUN_")}
            subprocess.run(
                [sys.executable, "-m", "labrun", "-y", "down", "--name", name],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_DOWN_SECONDS,
            )
        # What labrun leaves alone: it has no tag, or a test has broken something that `down` needs.
        for connection in connections:
            for left in [*_tagged(connection, name), *_named(connection, name)]:
                _remove(left)
        for uri in _URIS:
            driver_for(uri.partition(":")[0], uri).remove_lab(name)
        return found
    finally:
        for connection in connections:
            connection.close()


def _objects(connection: libvirt.virConnect) -> Iterator[libvirt.virDomain | libvirt.virNetwork]:
    yield from connection.listAllDomains()
    yield from connection.listAllNetworks()


def _tagged(connection: libvirt.virConnect, lab: str) -> list[libvirt.virDomain | libvirt.virNetwork]:
    found = []
    for each in _objects(connection):
        with suppress(libvirt.libvirtError):
            tag = read_tag(each.XMLDesc(0))
            if tag is not None and tag.lab == lab:
                found.append(each)
    return found


def _named(
    connection: libvirt.virConnect, name: str
) -> list[libvirt.virDomain | libvirt.virNetwork | libvirt.virNWFilter]:
    named = [each for each in _objects(connection) if each.name() == name]
    return [*named, *(each for each in connection.listAllNWFilters() if each.name() == name)]


def _remove(left: libvirt.virDomain | libvirt.virNetwork | libvirt.virNWFilter) -> None:
    # It may have been off, and what is transient is gone once it is off.
    if not isinstance(left, libvirt.virNWFilter):
        with suppress(libvirt.libvirtError):
            left.destroy()
    with suppress(libvirt.libvirtError):
        left.undefine()
