"""Tell a run that is still in progress from one whose process is gone."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_running", "process_of", "this_process"]

_START_TIME = 19
"""Index of ``starttime`` in /proc/PID/stat, counted from behind the command's name."""


def this_process() -> str:
    """Return an identifier of this process, unique on this machine across reboots: ``boot pid start``."""
    return process_of(os.getpid()) or ""


def is_running(process: str) -> bool:
    """Return whether the process with that identifier is still running on this machine."""
    pid = process.split(" ")[1:2]
    return bool(pid) and pid[0].isdecimal() and process_of(int(pid[0])) == process


def process_of(pid: int) -> str | None:
    """Return the identifier of a process, None if there is none; that of a zombie is one that has ended."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else f"{boot} {pid} {fields[_START_TIME]}"
