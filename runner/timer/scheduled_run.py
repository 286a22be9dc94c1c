"""The scheduled command: this labrun, this lab file, and the options passed on."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.errors import UsageError
from labrun.hypervisor_uri import VARIABLE, asked_hypervisor
from labrun.runner.cli.invocation import DEFAULT_WORKERS, Invocation
from labrun.runner.cli.lab_file import lab_path
from labrun.runner.cli.outputs import is_stdout
from labrun.runner.timer.systemd import check_calendar
from labrun.runner.timer.units import Schedule
from labrun.runner.watching.cadence import default_jitter, seconds_of
from labrun.runner.watching.notify import NotifyOptions, notifiers_of
from labrun.state import state_base
from labrun.state_folders import private_folder

if TYPE_CHECKING:
    from labrun.inventory.model import Lab

__all__ = ["When", "make_state_base", "schedule_of"]

_CALENDAR_JITTER = 60.0


@dataclass(frozen=True, slots=True)
class When:
    """The options that set the times, as given."""

    every: str | None
    calendar: str | None
    jitter: str | None


def schedule_of(
    invocation: Invocation, lab: Lab, *, user: bool, when: When, options: NotifyOptions
) -> Schedule:
    """Return the schedule, with absolute paths. Raises UsageError for errors that only a run would reveal."""
    _check(invocation, options)
    every, jitter = _moments(when, lab)
    base = (invocation.state_dir or state_base()).absolute()
    written = [file.absolute() for file in (options.metrics, invocation.history) if file is not None]
    secret = [] if options.webhook_secret is None else [Path(options.webhook_secret).absolute()]
    words, python_path = _this_labrun()
    return Schedule(
        lab=lab.name,
        lab_file=Path(lab_path(invocation.lab)).absolute(),
        command=[*words, *_arguments(invocation, base, options)],
        every=every,
        calendar=when.calendar,
        jitter=jitter,
        user=user,
        writable=[base, *(file.parent for file in written)],
        readable=[Path(words[0]), *secret, *([python_path] if python_path else [])],
        python_path=python_path,
        needs_hypervisor=lab.needs_hypervisor,
    )


def make_state_base(invocation: Invocation) -> None:
    """Create the directory that holds all state: a confined run may write inside it, but not create it.

    Raises LabrunError.
    """
    private_folder(invocation.state_dir or state_base())


def _check(invocation: Invocation, options: NotifyOptions) -> None:
    if invocation.lab == "-":
        raise UsageError("a schedule needs a lab file, it cannot read stdin", hint="--lab FILE")
    if is_stdout(options.metrics):
        raise UsageError("--metrics: nothing reads the stdout of a scheduled run", hint="name a file")
    if options.webhook_secret is not None and options.webhook_secret.startswith("env:"):
        raise UsageError("--webhook-secret: a scheduled run has no such variable", hint="name a file")
    if asked_hypervisor() is not None:
        raise UsageError(f"{VARIABLE}: a scheduled run has no such variable", hint="name it in the lab file")
    if invocation.history is not None and not invocation.history.parent.is_dir():
        raise UsageError(f"--history: there is no directory {invocation.history.parent}")
    notifiers_of(options)


def _moments(when: When, lab: Lab) -> tuple[float | None, float]:
    """Return the seconds between runs, None for a calendar, and the jitter in seconds."""
    if when.every is not None and when.calendar is not None:
        raise UsageError("--every and --calendar exclude each other", hint="give one")
    if when.calendar is not None:
        check_calendar(when.calendar)
        every = None
    else:
        every = _every(when.every, lab)
    if when.jitter is not None:
        return every, seconds_of("--jitter", when.jitter, zero=True)
    return every, _CALENDAR_JITTER if every is None else default_jitter(every)


def _every(given: str | None, lab: Lab) -> float:
    text = given or lab.schedule_every
    if text is None:
        raise UsageError(
            "neither the command line nor the lab file says how often",
            hint="--every 15m, or `schedule: {every: 15m}` in the file",
        )
    return seconds_of("--every", text)


def _this_labrun() -> tuple[list[str], Path | None]:
    """Return the command that starts this labrun from any directory, and the PYTHONPATH it needs."""
    called = Path(sys.argv[0])
    if called.name == "labrun" and called.is_file() and os.access(called, os.X_OK):
        return [str(called.absolute())], None
    import labrun

    return [sys.executable, "-m", "labrun"], Path(labrun.__file__).absolute().parents[1]


def _arguments(invocation: Invocation, base: Path, options: NotifyOptions) -> list[str]:
    words = ["--lab", str(Path(lab_path(invocation.lab)).absolute()), "--state-dir", str(base)]
    if invocation.allow_outside:
        words += ["--allow-outside"]
    if invocation.hosts is not None:
        words += ["--hosts", invocation.hosts]
    if invocation.history is not None:
        words += ["--history", str(invocation.history.absolute())]
    if invocation.timeout is not None:
        words += ["--timeout", f"{invocation.timeout:g}"]
    if invocation.workers != DEFAULT_WORKERS:
        words += ["--workers", str(invocation.workers)]
    words += ["--quiet", "drift", "--skip-locked"]
    for option, path in (("--metrics", options.metrics), ("--webhook-secret", options.webhook_secret)):
        words += [] if path is None else [option, str(Path(path).absolute())]
    for option, text in (("--webhook", options.webhook), ("--on-change", options.on_change)):
        words += [] if text is None else [option, text]
    return words
