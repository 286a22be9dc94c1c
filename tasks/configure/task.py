"""The Nornir task ``configure``: one host from what it is to what the lab file says."""

from __future__ import annotations

from getpass import getuser

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from labrun.errors import LabrunError
from labrun.outcome import Status
from labrun.tasks.configure.confirmation import NewLogin
from labrun.tasks.configure.converge import HostRun, converge
from labrun.tasks.configure.password_proof import offered_methods, proved
from labrun.tasks.configure.resources import secrets_of
from labrun.tasks.transport import CONNECTION, fresh_transport, transport_of

__all__ = ["configure"]

# sshd's reload and a NIC that comes back leave a short while without an answer (seconds).
_PATIENCE = 20.0


def configure(task: Task, only: list[str] | None = None, dry_run: bool = False) -> Result:
    """Hold the host to the spec in its data under ``configure`` (from ``host_spec``).

    ``only`` names sections, none = all. The result is a list of outcomes. Raises a TransportError
    where the host cannot be entered. The session is one with a key: labrun knows no other, so
    passwords are only ever switched off by somebody who does not need them, and afterwards one attempt
    without a key shows that nobody is asked for one.
    """
    host = task.host
    run = HostRun(host.name, host.data["configure"], tuple(only or ()), dry_run)
    session = transport_of(host)
    confirmation = NewLogin(session, lambda: fresh_transport(host, patience=_PATIENCE))
    secrets = secrets_of(run.spec)
    try:
        outcomes = [secrets.masked(row) for row in converge(run, session, confirmation)]
    except LabrunError as error:
        if not secrets:
            raise
        # What caused it is cut off with the traceback: its texts are not masked.
        error.reason, error.args = secrets.mask(error.reason), (secrets.mask(error.reason),)
        raise error from None
    if not dry_run:
        outcomes = proved(outcomes, lambda: _offered(host))
    return Result(
        host=host,
        result=outcomes,
        changed=any(outcome.status is Status.CHANGED for outcome in outcomes),
        diff="\n".join(outcome.diff for outcome in outcomes if outcome.diff),
    )


def _offered(host: Host) -> frozenset[str]:
    options = host.get_connection_parameters(CONNECTION)
    return offered_methods(str(host.hostname), options.port or 22, options.username or getuser())
