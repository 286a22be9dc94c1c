"""The modes of `drift`: once, in a loop, or on a live screen; each run is reported to all listeners."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from labrun.errors import HypervisorError, LockedError, UsageError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import load
from labrun.runner.cli.report import Report
from labrun.runner.engine.session import Session, open_session
from labrun.runner.watching.cadence import Cadence, cadence_of
from labrun.runner.watching.notify import (
    DriftRun,
    Notifiers,
    NotifyOptions,
    notifiers_of,
    notify,
    notify_options,
)

__all__ = ["run_as_requested", "run_drift", "running_options"]

Body = Callable[..., Any]
Compare = Callable[[Session], Report]
_FILE = "as the lab file says"  # --every without a value; not a duration
_WATCH_EVERY = "10s"


def running_options(body: Body) -> Body:
    """Add the options for the cadence, the listeners and locked labs."""
    body = notify_options(body)
    for option in (
        click.option("--skip-locked", is_flag=True, help="Skip a lab that another run holds locked."),
        click.option("--jitter", metavar="DURATION", help="With --every: longest random delay."),
        click.option("--watch", is_flag=True, help="Live view of hosts and sections; q quits."),
        click.option(
            "--every",
            metavar="[DURATION]",
            is_flag=False,
            flag_value=_FILE,
            help="Repeat until Ctrl-C; without a value, at the interval of the file's `schedule`.",
        ),
    ):
        body = option(body)
    return body


def run_as_requested(
    invocation: Invocation,
    compare: Compare,
    *,
    every: str | None,
    jitter: str | None,
    watch: bool,
    skip_locked: bool,
    **listeners: Any,
) -> Report:
    """Run as :func:`running_options` ask for; ``compare`` checks a lab once and holds its lock meanwhile.

    Raises UsageError before anything is done.
    """
    notifiers = notifiers_of(NotifyOptions(**listeners))
    if jitter is not None and every is None:
        raise UsageError("--jitter delays the runs of --every", hint="give --every too")
    if not watch and every is None:
        return run_drift(invocation, compare, notifiers, skip_locked=skip_locked).report
    run = partial(run_drift, compare=compare, listeners=notifiers, skip_locked=True)
    cadence = _cadence(invocation, every or _WATCH_EVERY, "0" if watch and jitter is None else jitter)
    if watch:
        from labrun.runner.watching.screen import watch as show

        return show(invocation, run, cadence)
    from labrun.runner.watching.loop import repeat

    return repeat(invocation, lambda this: run(this).report, cadence)


def _cadence(invocation: Invocation, every: str, jitter: str | None) -> Cadence:
    if invocation.lab == "-":
        raise UsageError("the lab file is read again for each run: it cannot be stdin", hint="--lab FILE")
    if every == _FILE:
        lab = load(invocation)
        if lab.schedule_every is None:
            raise UsageError(
                f"{lab.source} does not say how often",
                hint="--every 15m, or `schedule: {every: 15m}` in the file",
            )
        every = lab.schedule_every
    # Machines that watch labs must not all begin at the same moment.
    return cadence_of(every, jitter, f"{os.uname().nodename} {invocation.lab}")


def run_drift(
    invocation: Invocation, compare: Compare, listeners: Notifiers, *, skip_locked: bool = False
) -> DriftRun:
    """Compare once, notify the listeners, and return the run.

    With ``skip_locked``, a lab that is locked by another labrun is left alone: every host is ``skipped``.
    If a known lab could not be compared, that is reported like any other result. Raises LabFileError,
    UsageError, LockedError.
    """
    try:
        session = open_session(invocation)
    except HypervisorError as error:
        lab = load(invocation)
        return notify(Report(lab.name, error=error), invocation, lab, listeners)
    try:
        report = compare(session)
    except LockedError as error:
        if not skip_locked:
            raise
        rows = [_skipped(host, error) for host in session.hosts]
        return notify(Report(session.lab.name, rows), invocation, session.lab, listeners, skipped=True)
    except HypervisorError as error:
        report = Report(session.lab.name, error=error)
    if invocation.interruption.came:
        # An interrupted run has no complete result, so there is no change to report.
        return DriftRun(report)
    return notify(report, invocation, session.lab, listeners)


def _skipped(host: str, error: LockedError) -> Outcome:
    return Outcome(host, "drift", host, Status.SKIPPED, why=error.reason)
