"""One drift run: the lab opened and locked, compared, and the result told to all who want to know."""

from __future__ import annotations

from collections.abc import Callable

from labrun.errors import HypervisorError, LockedError
from labrun.outcome import Outcome, Status
from labrun.runner.lab_file import load
from labrun.runner.lock import lab_lock
from labrun.runner.options import Invocation
from labrun.runner.output import Report
from labrun.runner.session import Session, open_session
from labrun.runner.telling import Listeners, tell

__all__ = ["run_drift"]

Compare = Callable[[Session], Report]


def run_drift(
    invocation: Invocation, compare: Compare, listeners: Listeners, *, skip_locked: bool = False
) -> Report:
    """Compare under the lab's lock, tell the listeners, and return the report.

    With ``skip_locked`` a lab that another labrun works on is left alone: every host is
    ``skipped``. What kept a known lab from being compared is told like everything else. Raises
    LabFileError, UsageError, LockedError.
    """
    try:
        session = open_session(invocation)
    except HypervisorError as error:
        lab = load(invocation)
        return tell(Report(lab.name, error=error), invocation, lab, listeners)
    try:
        with lab_lock(session.state.lock, "drift"):
            report = compare(session)
    except LockedError as error:
        if not skip_locked:
            raise
        report = Report(session.lab.name, [_skipped(host, error) for host in session.hosts])
        return tell(report, invocation, session.lab, listeners, skipped=True)
    except HypervisorError as error:
        report = Report(session.lab.name, error=error)
    return tell(report, invocation, session.lab, listeners)


def _skipped(host: str, error: LockedError) -> Outcome:
    return Outcome(host, "drift", host, Status.SKIPPED, why=error.reason)
