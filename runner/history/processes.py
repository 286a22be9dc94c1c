"""Telling a run that still goes on from one whose process is gone."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_running", "this_process"]

_START_TIME = 19
"""Place of ``starttime`` in /proc/PID/stat, counted behind the command's name."""


def this_process() -> str:
    """Return what names this process on this machine since it was switched on: ``boot pid start``."""
    return _named(os.getpid()) or ""


def is_running(process: str) -> bool:
    """Tell whether the process of that name still runs here."""
    pid = process.split(" ")[1:2]
    return bool(pid) and pid[0].isdecimal() and _named(int(pid[0])) == process


def _named(pid: int) -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return f"{boot} {pid} {stat.rpartition(')')[2].split()[_START_TIME]}"
