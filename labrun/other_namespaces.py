"""Move this process into the namespaces of another, as nsenter(1) does, before it has any other thread."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from labrun.errors import HypervisorError

__all__ = ["enter_mounts"]

_CLONE_NEWNS = 0x00020000
_CLONE_NEWCGROUP = 0x02000000


def enter_mounts(pid: int) -> None:
    """Move this process into the mount and cgroup namespaces of another, and stay in the same directory.

    The kernel allows it only to a process of one thread. Raises HypervisorError.
    """
    here = Path.cwd()
    try:
        # Both are opened first: in the other mount namespace /proc may be another one.
        with (
            Path(f"/proc/{pid}/ns/cgroup").open("rb") as groups,
            Path(f"/proc/{pid}/ns/mnt").open("rb") as mounts,
        ):
            _set(groups.fileno(), _CLONE_NEWCGROUP)
            _set(mounts.fileno(), _CLONE_NEWNS)
        with contextlib.suppress(FileNotFoundError):
            os.chdir(here)
    except OSError as error:
        raise HypervisorError(
            f"cannot enter the namespaces of process {pid}: {error.strerror}", step="namespace"
        ) from error


def _set(descriptor: int, kind: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
