"""The limits of a run over hosts: how many at a time, how long, in which order, and what a signal does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labrun.runner.cli.interruption import Interruption
from labrun.runner.cli.invocation import DEFAULT_WORKERS
from labrun.runner.engine.rollout import ALL_AT_ONCE, Rollout

if TYPE_CHECKING:
    from nornir.core.task import MultiResult

__all__ = ["CONFIRM_SECONDS", "CONNECTORS", "Budget", "OnSignal"]

CONNECTORS = 16
"""Maximum number of concurrent SSH handshakes; more would only compete for sshd and the CPU."""
CONFIRM_SECONDS = 60
"""Default time that a changed host waits for labrun's confirmation before it rolls back."""


@dataclass(frozen=True, slots=True)
class OnSignal:
    """The reaction to the first Ctrl-C or SIGTERM.

    With ``interruption`` None, the run waits for the hosts in progress until they have ``until`` (a
    participle), reports that unless ``quiet``, and then raises Interrupted. Otherwise the run only reads:
    hosts in progress get a last moment, the signal is recorded in ``interruption``, and the run returns the
    results so far.
    """

    until: str = "finished"
    interruption: Interruption | None = None
    quiet: bool = False


_PATIENT = OnSignal()


def _nobody(_host: str) -> str:
    return ""


def _untold(_host: str, _result: MultiResult) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a run: hosts in progress, concurrent logins, seconds per host, and the rollout.

    ``deadline`` counts from each host's start, None = no limit. ``confirm`` is how many seconds a changed
    host waits for confirmation before it rolls back, None = it does not. ``on_signal`` sets what happens to
    hosts in progress when a signal arrives. ``gone`` tells what has become of a host's machine while the run
    works on it, empty while it is there; it is asked often, and answers at once. ``settled`` is told each
    host's result as soon as there is one, from any thread, and returns at once. Without ``keeps_logins`` a
    host's connections are closed after its task: each takes a file descriptor, a thread and 0.1 MiB.
    """

    workers: int = DEFAULT_WORKERS
    connectors: int = CONNECTORS
    deadline: float | None = None
    confirm: int | None = CONFIRM_SECONDS
    rollout: Rollout = ALL_AT_ONCE
    on_signal: OnSignal = _PATIENT
    gone: Callable[[str], str] = _nobody
    settled: Callable[[str, MultiResult], None] = _untold
    keeps_logins: bool = True

    def __post_init__(self) -> None:
        if min(self.workers, self.connectors) < 1:
            raise ValueError("workers and connectors must be 1 or more")
