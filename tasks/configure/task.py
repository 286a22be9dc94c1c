"""The Nornir task ``configure``: one host from what it is to what the lab file says."""

from __future__ import annotations

import os
import pwd
import socket
from getpass import getuser

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from labrun.errors import LabrunError
from labrun.outcome import Status
from labrun.ports import Transport
from labrun.tasks.configure.confirmation import APPLY_SECONDS, Confirmation, Login, NewLogin
from labrun.tasks.configure.converge import HostRun, converge
from labrun.tasks.configure.guard import Guard
from labrun.tasks.configure.guard_script import Ticket
from labrun.tasks.configure.password_proof import offered_methods, proved
from labrun.tasks.configure.resources import secrets_of
from labrun.tasks.transport import CONNECTION, SshTransport, fresh_transport, transport_of

__all__ = ["configure"]

# sshd's reload and a NIC that comes back leave a short while without an answer (seconds).
_PATIENCE = 20.0
# A change may take the session's address away; the kernel answers for a host that is only busy (seconds).
_SILENCE = 3
# A host that goes back changes its address: one that is not there yet is asked again soon.
_DIAL = 3.0


def configure(
    task: Task,
    only: list[str] | None = None,
    dry_run: bool = False,
    run: str = "",
    digest: str = "",
    confirm_timeout: int | None = None,
) -> Result:
    """Hold the host to the spec in its data under ``configure`` (from ``host_spec``).

    ``only`` names sections, none = all. ``run`` is the run's ID, ``digest`` the lab file's.
    ``confirm_timeout`` is how many seconds the host waits for labrun's word that a change may stay;
    None = it stays without. The result is a list of outcomes. Raises a TransportError where the host
    cannot be entered. The session is one with a key: labrun knows no other, so passwords are only
    ever switched off by somebody who does not need them, and afterwards one attempt without a key
    shows that nobody is asked for one.
    """
    host = task.host
    session = transport_of(host)
    came_from = _login(host, 0.0, session.address)
    work = HostRun(host.name, host.data["configure"], tuple(only or ()), dry_run, run, digest)
    confirmation = _confirmation(host, session, came_from, run, confirm_timeout)
    secrets = secrets_of(work.spec)
    try:
        outcomes = [secrets.masked(row) for row in converge(work, session, confirmation, came_from)]
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


def _confirmation(
    host: Host, session: SshTransport, came_from: Login, run: str, seconds: int | None
) -> Confirmation:
    if seconds is None:
        return NewLogin(session, _login(host, _PATIENCE))
    session.notice_loss(_SILENCE)
    ticket = Ticket(run, _owner(), seconds, APPLY_SECONDS)
    return Guard(ticket, session, _login(host, min(_PATIENCE, seconds)), came_from)


def _login(host: Host, patience: float, address: str | None = None) -> Login:
    """Return how to come in anew, where the host should now be or at an address."""

    def login() -> Transport:
        dial = _DIAL if address is not None else None
        fresh = fresh_transport(host, address=address, patience=patience, dial=dial)
        fresh.notice_loss(_SILENCE)
        return fresh

    return login


def _owner() -> str:
    """Return who this labrun is, for another one that finds the host taken."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"labrun (pid {os.getpid()} of {user} on {socket.gethostname()})"
