"""One call of labrun: the command and its global options."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from labrun.runner.cli.interruption import Interruption
from labrun.runner.cli.report import Report

__all__ = ["BY_SIZE", "DEFAULT_WORKERS", "THREADS", "Format", "Invocation", "RunRecord", "new_run_id"]

Format = Literal["table", "json", "github"]
DEFAULT_WORKERS = 32
THREADS = "threads"
"""The engine that needs no other processes."""
BY_SIZE = ""
"""The engine that suits the number of hosts, which is what a command line without one gets."""


def new_run_id(now: float | None = None) -> str:
    """Return a run's ID, practically unique and sortable by time: ``2026-11-20T16:00:00Z-3f2a``."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    return f"{stamp}-{os.urandom(2).hex()}"


class RunRecord:
    """The record of a run. This base class keeps nothing; the history's subclass writes to the database.

    ``uri`` is the lab's hypervisor, None if it has none; ``removed_lab`` means that the run removed the
    lab. ``is_kept`` tells whether collecting evidence is worthwhile.
    """

    is_kept = False

    def __init__(self) -> None:
        self.uri: str | None = None
        self.removed_lab = False

    def again(self) -> RunRecord:
        """Return a record for another run of the same command."""
        return type(self)()

    def begin(self, invocation: Invocation, lab: str, digest: str | None) -> None:
        """Record the start of the run; ``digest`` is the lab file's, None without one."""

    @property
    def has_room(self) -> bool:
        """Tell whether there is room for more output."""
        return False

    def attach(self, host: str, text: str | None) -> None:
        """Add a host's output, None = what there is no room for."""

    def finish(self, report: Report, seconds: float) -> None:
        """Record the result of the run."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of labrun: the command's full name and the resolved global options.

    ``lab_variable`` = ``lab`` is from LABRUN_LAB. ``hosts`` is the unresolved expression (``a,b,@group``).
    ``timeout`` is in seconds, None = the command's default; ``chosen_workers`` = ``workers`` is the user's.
    ``engine`` is what the work on hosts runs on, as in ``--engine``, or BY_SIZE.
    ``verbosity`` is -2 (``-qq``), -1, 0, 1 (``-v``) or 2 (``-vv``). ``color`` is the user's choice; colour
    also needs a terminal. ``fork`` is the one to work in, None for the lab itself. ``silent`` = nothing is
    printed, for the Python API. ``history`` is a file to use instead of the lab's default, ``recording``
    writes this run to it. ``interruption`` is the signal that ends the command, shared by all runs of a loop.
    ``started`` is a ``time.monotonic()``.
    """

    command: str
    lab: str | None = None
    lab_variable: bool = False
    allow_outside: bool = False
    hosts: str | None = None
    format: Format = "table"
    workers: int = DEFAULT_WORKERS
    chosen_workers: bool = False
    timeout: float | None = None
    engine: str = THREADS
    yes: bool = False
    verbosity: int = 0
    silent: bool = False
    color: bool = True
    state_dir: Path | None = None
    fork: str | None = None
    history: Path | None = None
    recording: RunRecord = field(default_factory=RunRecord, compare=False, repr=False)
    interruption: Interruption = field(default_factory=Interruption, compare=False, repr=False)
    run: str = field(default_factory=new_run_id)
    started: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> bool:
        """Return whether exactly one JSON document is requested."""
        return self.format == "json"

    @property
    def quiet(self) -> bool:
        """Return whether only rows that are not ok are shown."""
        return self.verbosity < 0

    @property
    def seconds(self) -> float:
        """Return the seconds since the start of labrun, or of this run of a loop."""
        return time.monotonic() - self.started

    def again(self) -> Invocation:
        """Return the invocation for a loop's next run, with a new run ID, clock and record."""
        recording = self.recording.again()
        return replace(self, run=new_run_id(), started=time.monotonic(), recording=recording)
