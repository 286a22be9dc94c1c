"""`labrun mend`: undo what `labrun break` planted, exactly."""

from __future__ import annotations

from typing import Any

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.commands.faults.fault_state import Planted, forget, on_hosts, recall
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import open_session
from labrun.runner.verb import verb

_NOTHING = "Nothing is planted in this lab."


@verb("mend", recorded=True)
def command(invocation: Invocation) -> Report:
    """Remove the fault that `labrun break` planted, and nothing else.

    Says what it was. Where a host is not as it was before the fault, the row shows in what.
    """
    from labrun.tasks.faults.script import mend_script

    session = open_session(invocation)
    with lab_lock(session.state.lock, "mend"):
        planted = recall(session.state)
        # If the state is lost, ask every guest: the fault is recorded there, too.
        hosts = [planted.host] if planted and planted.host in session.lab.hosts else list(session.lab.hosts)
        found = on_hosts(session, dict.fromkeys(hosts, mend_script()))
        rows = [row for host, done in found.items() if (row := _row(host, done, planted)) is not None]
        if not any(row.exit_code for row in rows):
            forget(session.state)
    return Report(session.lab.name, rows, notes=() if rows else (_NOTHING,))


def _row(host: str, done: dict[str, Any] | BaseException, planted: Planted | None) -> Outcome | None:
    from labrun.runner.engine.nornir import row_of_error
    from labrun.tasks.faults.script import ABSENT, DIFFERS

    name = planted.fault if planted is not None else "fault"
    if isinstance(done, LabrunError):
        return row_of_error(host, "fault", name, done)
    if isinstance(done, BaseException):
        raise done
    status = done["exit_status"]
    if status == ABSENT:
        why = "the host knows of none: it was made anew, or mended"
        return Outcome(host, "fault", name, Status.OK, "as before", "no fault", why) if planted else None
    if status == DIFFERS:
        why = "undone; what else changed since is left as it is:\n" + str(done["stdout"]).strip()
        return Outcome(host, "fault", name, Status.WARNING, "as before", "undone", why)
    if status != 0:
        said = str(done["stderr"]).strip() or f"exit status {status}"
        return Outcome(host, "fault", name, Status.FAILED, "as before", "still there", said)
    return Outcome(host, "fault", name, Status.CHANGED, "as before", "as before")
