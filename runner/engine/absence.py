"""Why a host cannot answer according to libvirt: there is no such machine, or it does not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from labrun.errors import HypervisorError, UnreachableError
from labrun.outcome import Outcome, Status

if TYPE_CHECKING:
    from labrun.runner.engine.session import Session

__all__ = ["off", "require_running", "with_absence"]


def off(session: Session) -> dict[str, str]:
    """Return, by host, why a machine cannot answer. Raises HypervisorError."""
    machines = session.machines()
    reasons = session.absent(machines)
    for name, host in session.lab.hosts.items():
        if host.machine is not None and name in machines and machines[name].machine.state != "running":
            reasons[name] = f"the machine is {machines[name].machine.standing}: `labrun up` starts it"
    return reasons


def require_running(session: Session, host: str) -> None:
    """Raise UnreachableError if libvirt says that the host cannot answer."""
    if session.lab.hosts[host].machine is not None and (why := off(session).get(host)):
        raise UnreachableError(why, host=host, step="machine")


def with_absence(session: Session, rows: Sequence[Outcome]) -> list[Outcome]:
    """Return the rows, those of hosts that no connection was made to with what libvirt says of them.

    libvirt is asked only then: nearly always every host answers.
    """
    lost = {row.host for row in rows if row.status is Status.UNREACHABLE}
    if not any(host in session.lab.hosts and session.lab.hosts[host].machine for host in lost):
        return list(rows)
    try:
        reasons = off(session)
    except HypervisorError:
        return list(rows)  # the rows say why they could not be reached
    return [
        replace(row, why=reasons[row.host]) if row.host in lost and row.host in reasons else row
        for row in rows
    ]
