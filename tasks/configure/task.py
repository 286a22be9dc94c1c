"""The Nornir task ``configure``: bring one host to the state in the lab file."""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from labrun.errors import CommandError, LabrunError
from labrun.inventory.hosts.connections import JUMP, WANTED_PORT
from labrun.outcome import Status
from labrun.ports import Transport
from labrun.tasks.configure.confirmation import APPLY_SECONDS, Confirmation, Login, NewLogin
from labrun.tasks.configure.converge import HostRun, converge
from labrun.tasks.configure.guard import Guard
from labrun.tasks.configure.guard_script import GuardToken
from labrun.tasks.configure.neighbour import forget_neighbour
from labrun.tasks.configure.package_log import LOG, with_log
from labrun.tasks.configure.password_proof import proved
from labrun.tasks.configure.resources import secrets_of
from labrun.tasks.configure.together import CUTS, TOGETHER, Cuts, TogetherGuard
from labrun.tasks.guest.facts.guard import controller
from labrun.tasks.guest.inside import HostTransport, host_transport, inside_of
from labrun.tasks.guest.transport import LOGGED_IN_AT, fresh_transport

__all__ = ["configure"]

# sshd's reload and a NIC that comes back up cause a short outage (seconds).
_PATIENCE = 20.0
# A change may remove the session's address; on a busy host the kernel still acknowledges (seconds).
_SILENCE = 3
_WENT_BACK = frozenset({Status.ROLLED_BACK, Status.UNKNOWN})
# A host that rolls back changes its address: one that is not there yet is retried soon.
_DIAL = 3.0


def configure(
    task: Task,
    only: list[str] | None = None,
    dry_run: bool = False,
    run: str = "",
    digest: str = "",
    confirm_timeout: int | None = None,
    attempt: int = 1,
) -> Result:
    """Hold the host to the spec in its data under ``configure`` (from ``host_spec``).

    ``only`` names sections, none = all. ``run`` is the run's ID, ``digest`` the lab file's.
    ``confirm_timeout`` is how many seconds the host waits for labrun to confirm a change; None = the
    change stays without that. ``attempt`` counts those of the run: the guest lets one begin, however often
    the task is started. The result is a list of outcomes. Raises a TransportError if the login
    fails. The session always uses a key: labrun has no other method, so passwords are only ever
    disabled by a user who does not need them, and the new login first proves that a login without a
    key is not offered one.
    """
    host = task.host
    cuts: Cuts | None = host.data.get(CUTS)
    if cuts is not None and (by := cuts.leave(host.name)) is not None:
        raise CommandError(f"not changed: it must change at the same time as {by}")
    session = host_transport(host)
    session.keep_shell()
    ports = _ports(host, session)
    came_from = _Login(host, 0.0, ports, session.address)
    patience = _PATIENCE if confirm_timeout is None else min(_PATIENCE, confirm_timeout)
    anew = _Login(host, patience, ports[::-1])
    work = HostRun(
        host.name, host.data["configure"], tuple(only or ()), dry_run, run, digest, f"{attempt} of {_owner()}"
    )
    if TOGETHER in host.data:
        work = replace(work, again="-both")
    confirmation = _confirmation(host, session, anew, came_from, work, confirm_timeout)
    secrets = secrets_of(work.spec)
    try:
        rows = converge(work, session, confirmation, came_from)
        if not dry_run and (log := host.data.get(LOG)):
            rows = with_log(session, rows, Path(log))
        outcomes = [secrets.masked(row) for row in rows]
    except LabrunError as error:
        if not secrets:
            raise
        # The cause is cut off with the traceback: its texts are not masked.
        error.reason, error.args = secrets.mask(error.reason), (secrets.mask(error.reason),)
        raise error from None
    finally:
        session.end_shell()
    if not dry_run:
        outcomes = proved(outcomes, anew.offered)
    if anew.port is not None and not any(row.status in _WENT_BACK for row in outcomes):
        host.data[LOGGED_IN_AT] = anew.port
    return Result(
        host=host,
        result=outcomes,
        changed=any(outcome.status is Status.CHANGED for outcome in outcomes),
        diff="\n".join(outcome.diff for outcome in outcomes if outcome.diff),
    )


def _ports(host: Host, session: HostTransport) -> tuple[int, ...]:
    """Return where sshd answered, followed by where it should; none if nobody logs in."""
    if session.port is None:
        return ()
    return tuple(dict.fromkeys((session.port, int(host.data.get(WANTED_PORT, session.port)))))


def _confirmation(
    host: Host, session: HostTransport, anew: Login, came_from: Login, work: HostRun, seconds: int | None
) -> Confirmation:
    if seconds is None:
        return NewLogin(session, anew)
    session.notice_loss(_SILENCE)
    ticket = GuardToken(
        run=work.name,
        owner=_owner(),
        seconds=seconds,
        applying=APPLY_SECONDS,
        process=controller(),
        user=session.user or "root",
        reboots=bool(work.spec.get("reboots")),
    )
    behind = work.spec.get("behind", ())
    if TOGETHER in host.data:
        together = host.data[TOGETHER]
        return TogetherGuard(ticket, session, anew, came_from, behind, host=host.name, together=together)
    if CUTS in host.data:
        return Guard(ticket, session, anew, came_from, behind, partial(host.data[CUTS].note, host.name))
    return Guard(ticket, session, anew, came_from, behind)


@dataclass(slots=True)
class _Login:
    """How to log in again, at the host's current address or another; a host's shell is kept.

    ``ports`` are tried in this order. ``offered`` are the methods that sshd offered to the last login before
    it presented its key, ``port`` is where that was. A host that cannot be logged in to is entered again
    instead.
    """

    host: Host
    patience: float
    ports: tuple[int, ...]
    address: str | None = None
    offered: frozenset[str] | None = None
    port: int | None = None

    def __call__(self) -> Transport:
        inside = inside_of(self.host)
        if inside is not None:
            return inside
        dial = _DIAL if self.address is not None else None
        asks = self.address is None
        if asks and JUMP not in self.host.data:
            # A login by a cached link-layer address proves nothing about the next one.
            for address in dict.fromkeys([self.host.hostname, *self.host.data.get("labrun_expected", ())]):
                forget_neighbour(str(address))
        fresh = fresh_transport(
            self.host,
            address=self.address,
            ports=self.ports,
            patience=self.patience,
            dial=dial,
            ask_methods=asks,
        )
        fresh.notice_loss(_SILENCE)
        fresh.keep_shell()
        self.offered, self.port = fresh.offered, fresh.port
        return fresh


def _owner() -> str:
    """Return a name for this labrun, shown to another one that finds the host locked."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"labrun (pid {os.getpid()} of {user} on {socket.gethostname()})"
