"""One call of labrun: which command, with which of the options that every command takes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from labrun.runner.cli.interruption import Interruption
from labrun.runner.cli.report import Report

__all__ = ["DEFAULT_WORKERS", "Invocation", "RunRecord", "new_run_id"]

Format = Literal["table", "json"]
DEFAULT_WORKERS = 32


def new_run_id(now: float | None = None) -> str:
    """Return a run's name, unique enough and sorted by time: ``2026-11-20T16:00:00Z-3f2a``."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    return f"{stamp}-{os.urandom(2).hex()}"


class RunRecord:
    """What is kept of a run: this one keeps nothing; the history's writes into the lab's database.

    ``uri`` is the lab's hypervisor, None where it has none; ``removed_lab`` says that the run took the lab
    down. ``is_kept`` tells whether it is worth collecting evidence.
    """

    is_kept = False

    def __init__(self) -> None:
        self.uri: str | None = None
        self.removed_lab = False

    def again(self) -> RunRecord:
        """Return a record for another run of the same command."""
        return type(self)()

    def begin(self, invocation: Invocation, lab: str, digest: str | None) -> None:
        """Note that the run has begun; ``digest`` is the lab file's, None without one."""

    def attach(self, host: str, text: str) -> None:
        """Add what a host showed."""

    def finish(self, report: Report, seconds: float) -> None:
        """Note what came of the run."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of labrun: the command's full name and the global options as they came out.

    ``hosts`` is the unresolved expression (``a,b,@group``). ``timeout`` in seconds, None = the
    command's own. ``verbosity`` is -1 (``-q``), 0, 1 (``-v``) or 2 (``-vv``). ``color`` says what
    the user allows; a terminal is needed besides. ``history`` is the file that is used in place of the
    lab's own, ``recording`` what writes this run into it.
    ``interruption`` is the signal that ends the command, shared by all runs of a loop. ``started`` is a
    ``time.monotonic()``.
    """

    command: str
    lab: str | None = None
    allow_outside: bool = False
    hosts: str | None = None
    format: Format = "table"
    workers: int = DEFAULT_WORKERS
    timeout: float | None = None
    yes: bool = False
    verbosity: int = 0
    color: bool = True
    state_dir: Path | None = None
    history: Path | None = None
    recording: RunRecord = field(default_factory=RunRecord, compare=False, repr=False)
    interruption: Interruption = field(default_factory=Interruption, compare=False, repr=False)
    run: str = field(default_factory=new_run_id)
    started: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> bool:
        """Tell whether exactly one JSON document is asked for."""
        return self.format == "json"

    @property
    def quiet(self) -> bool:
        """Tell whether only what is not ok shall be shown."""
        return self.verbosity < 0

    @property
    def seconds(self) -> float:
        """Return the seconds since labrun, or this run of a loop, began."""
        return time.monotonic() - self.started

    def again(self) -> Invocation:
        """Return the invocation of a loop's next run: a run ID, a clock and a record of its own."""
        recording = self.recording.again()
        return replace(self, run=new_run_id(), started=time.monotonic(), recording=recording)
