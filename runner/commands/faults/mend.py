"""`labrun mend`: undo what `labrun break` planted, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.commands.faults.fault_state import Planted, forget, on_hosts, recall
from labrun.runner.engine.absence import with_absence
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.ports import Completed

_NOTHING = "Nothing is planted in this lab."
_BY_HAND = "mended by hand"


@verb("mend", recorded=True)
def command(invocation: Invocation) -> Report:
    """Remove the fault that `labrun break` planted, and nothing else.

    Shows what the fault was. If a host is not as it was before the fault, its row shows the
    difference.
    """
    session = open_session(invocation)
    with lab_lock(session.state.lock, "mend"):
        planted = recall(session.state)
        rows = mend_fault(session, planted)
    notes = [] if rows else [_NOTHING]
    if planted is not None and any(row.actual == _BY_HAND for row in rows):
        notes = [f"Solved: it was {planted.as_solved().story}."]
    return Report(session.lab.name, rows, notes=notes)


def mend_fault(session: Session, planted: Planted | None, *, silent: bool = False) -> list[Outcome]:
    """Undo the fault with the lab's lock held. Return a row for each host that has or had one.

    Forgets it, unless it is still there. ``silent`` shows no progress, which would reveal the host.
    """
    from labrun.tasks.faults.script import mend_script

    # If the state is lost, ask every guest: the fault is recorded there, too.
    hosts = [planted.host] if planted and planted.host in session.lab.hosts else list(session.lab.hosts)
    results = on_hosts(session, dict.fromkeys(hosts, mend_script()), silent=silent)
    possible = (_row(host, result, planted) for host, result in results.items())
    rows = [row for row in possible if row is not None]
    rows = with_absence(session, rows)
    if not any(row.exit_code for row in rows):
        forget(session.state)
    return rows


def _row(host: str, result: Completed | BaseException, planted: Planted | None) -> Outcome | None:
    """Return the row of one host, None if it has no fault and none was expected there."""
    from labrun.runner.engine.nornir import row_of_error
    from labrun.tasks.faults.script import ABSENT, DIFFERS, SOLVED

    name = planted.fault if planted is not None else "fault"
    if isinstance(result, LabrunError):
        return row_of_error(host, "fault", name, result)
    if isinstance(result, BaseException):
        raise result
    if result.exit_status == ABSENT:
        why = "no fault on the host: it was recreated, or mended before"
        return Outcome(host, "fault", name, Status.OK, "as before", "no fault", why) if planted else None
    if result.exit_status == SOLVED or (planted is not None and planted.solved and not result.exit_status):
        return Outcome(host, "fault", name, Status.OK, "as before", _BY_HAND)
    if result.exit_status == DIFFERS:
        why = f"undone; other changes made since are left in place:\n{result.stdout.strip()}"
        return Outcome(host, "fault", name, Status.WARNING, "as before", "undone", why)
    if result.exit_status != 0:
        why = result.stderr.strip() or f"exit status {result.exit_status}"
        return Outcome(host, "fault", name, Status.FAILED, "as before", "still there", why)
    return Outcome(host, "fault", name, Status.CHANGED, "as before", "as before")
