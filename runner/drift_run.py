"""One drift run: the lab opened and locked, compared, and the result told to all who want to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labrun.errors import HypervisorError, LabrunError, LockedError
from labrun.outcome import Outcome, Status
from labrun.runner.lab_file import load
from labrun.runner.lock import lab_lock
from labrun.runner.options import Invocation
from labrun.runner.output import Report
from labrun.runner.session import Session, open_session
from labrun.runner.telling import Listeners, tell
from labrun.state import LabState, state_base

if TYPE_CHECKING:
    from labrun.inventory.model import Lab

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
        return _not_opened(invocation, error, listeners)
    hosts = tuple(session.lab.hosts)
    try:
        with lab_lock(session.state.lock, "drift"):
            report = compare(session)
    except LockedError as error:
        if not skip_locked:
            raise
        report = Report(session.lab.name, [_skipped(host, error) for host in session.hosts])
        return tell(report, invocation, session.state, hosts, listeners, skipped=True)
    except HypervisorError as error:
        report = Report(session.lab.name, error=error)
    return tell(report, invocation, session.state, hosts, listeners)


def _skipped(host: str, error: LockedError) -> Outcome:
    return Outcome(host, "drift", host, Status.SKIPPED, why=error.reason)


def _not_opened(invocation: Invocation, error: LabrunError, listeners: Listeners) -> Report:
    lab = load(invocation)
    report = Report(lab.name, error=error)
    state = _last_state(lab, invocation)
    if state is None:
        return report
    return tell(report, invocation, state, tuple(lab.hosts), listeners)


def _last_state(lab: Lab, invocation: Invocation) -> LabState | None:
    """Return the lab's state where the hypervisor cannot be asked which one it is; None for a new lab."""
    if lab.hypervisor != "auto":
        return LabState.open(lab.name, lab.hypervisor, invocation.state_dir)
    base = invocation.state_dir or state_base()
    known = [LabState(path, lab.name) for path in base.glob(f"{lab.name}-????????")]
    used = [state for state in known if state.last_drift.is_file()]
    return max(used, key=lambda state: state.last_drift.stat().st_mtime, default=None)
