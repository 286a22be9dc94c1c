"""A fork's place: its folder, its libvirtd in namespaces of its own, and its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from labrun.containers import container_init
from labrun.errors import HypervisorError
from labrun.hypervisor import in_daemon_namespace
from labrun.tasks.guest.scripts import assigned, hypervisor_script, wrapped
from labrun.tasks.provision.image_store import image_directory
from labrun.tasks.provision.overlay import remove_groups
from labrun.tasks.provision.snapshot_store import Snapshot, remove_snapshot

__all__ = ["daemon_of", "drop", "end", "own_folder", "start_daemon", "state_folder"]

_START_SECONDS = 30
_END_SECONDS = 20.0
_POLL = 0.02
_GROUPS = Path("/sys/fs/cgroup")


def own_folder(fork: Snapshot) -> Path:
    """Return the folder of what is the fork's own: mounts, logs, state. No host can be called so."""
    return fork.folder / ".own"


def state_folder(fork: Snapshot) -> Path:
    """Return the fork's state directory, in place of the user's."""
    return own_folder(fork) / "state"


def daemon_of(fork: Snapshot) -> int | None:
    """Return the process id of the fork's libvirtd, None if it does not run."""
    file = own_folder(fork) / "run/libvirtd.pid"
    try:
        pid = int(file.read_text(encoding="ascii"))
        # After a reboot the number may be anybody's: this one sees the file as its own.
        theirs = Path(f"/proc/{pid}/root/run/libvirtd.pid").stat()
        return pid if os.path.samestat(theirs, file.stat()) else None
    except (OSError, ValueError):
        return None


def start_daemon(fork: Snapshot, uri: str) -> int:
    """Start the fork's libvirtd in new namespaces, beside the one of ``uri``, and return its process id.

    Raises HypervisorError.
    """
    own = own_folder(fork)
    own.mkdir(mode=0o700, exist_ok=True)
    values = {"own": str(own), "group": _group(fork), "images": str(image_directory())}
    script = assigned(values) + wrapped(hypervisor_script("fork"))
    command = [
        *in_daemon_namespace(uri),
        "unshare",
        "--mount",
        "--net",
        "--propagation",
        "private",
        "sh",
        "-s",
    ]
    output = own / "start.log"
    try:
        with output.open("wb") as log:
            # Not through pipes: the daemon would keep them open.
            done = subprocess.run(
                command, input=script.encode(), stdout=log, stderr=log, timeout=_START_SECONDS, check=False
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HypervisorError(f"cannot start the fork's libvirtd: {error}", step="fork") from error
    pid = daemon_of(fork)
    if done.returncode != 0 or pid is None:
        said = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        why = said[-1] if said else f"exit code {done.returncode}"
        raise HypervisorError(f"cannot start the fork's libvirtd: {why}", step="fork")
    return pid


def end(fork: Snapshot) -> None:
    """End all that runs in the fork: its containers, its libvirtd, its dnsmasq. Raises HypervisorError."""
    deadline = time.monotonic() + _END_SECONDS
    inits: dict[int, str] = {}
    while left := [*_pids(fork), *(pid for pid, began in inits.items() if _began(pid) == began)]:
        if time.monotonic() > deadline:
            raise HypervisorError(
                f"these processes of the fork {fork.name} did not end: {' '.join(map(str, left))}",
                step="fork",
            )
        # A controller that is killed leaves its container running: the container's init goes too.
        found = [container_init(pid) for pid in left if _command(pid) == "libvirt_lxc"]
        inits.update({pid: began for pid in found if pid is not None and (began := _began(pid))})
        for pid in {*left, *(pid for pid in found if pid is not None)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL)


def drop(fork: Snapshot, uri: str) -> None:
    """End the fork and delete all of it. Raises HypervisorError, LabrunError."""
    groups = {group for pid in _pids(fork) for group in _machine_groups(pid)}
    # With the last process gone, its mounts, bridges and taps are gone too.
    end(fork)
    _remove_groups(uri, [_group(fork), *sorted(groups)])
    shutil.rmtree(own_folder(fork), ignore_errors=True)
    remove_snapshot(fork)


def _remove_groups(uri: str, names: Sequence[str]) -> None:
    """Remove control groups. What has just ended may be counted in them a moment longer."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        remove_groups(uri, names)
        mounted = (path for pattern in ("*", "*/*", "*/*/*") for path in _GROUPS.glob(pattern))
        if not any(path.name in names for path in mounted) or time.monotonic() > deadline:
            return
        time.sleep(_POLL)


def _group(fork: Snapshot) -> str:
    # With a dot: no domain of labrun's is called so.
    return f"labrun-fork.{fork.lab}.{fork.name}"


def _pids(fork: Snapshot) -> list[int]:
    """Return the processes in the fork's network; those inside its containers have networks of their own."""
    try:
        inode = int((own_folder(fork) / "run/labrun-fork.net").read_text(encoding="ascii"))
        booted = (own_folder(fork) / "run/labrun-fork.net").stat().st_mtime
    except (OSError, ValueError):
        return []
    if booted < _boot_time():
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if (entry / "ns/net").stat().st_ino == inode and _began(int(entry.name)):
                    found.append(int(entry.name))
    return found


def _began(pid: int) -> str:
    """Return when a process began, in the kernel's ticks, empty if it has ended.

    One that nobody has collected yet has ended. A number that is used again has another beginning.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # proc(5): the third field is the state, the twenty-second the time.
    fields = text.rpartition(") ")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]


def _machine_groups(pid: int) -> list[str]:
    """Return the names of the control groups that libvirt made for a container, given its controller."""
    if _command(pid) != "libvirt_lxc":
        return []
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        return [part for part in text.replace("\n", "/").split("/") if part.endswith(".libvirt-lxc")]
    return []


def _boot_time() -> float:
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
