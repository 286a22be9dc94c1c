"""The ways into a machine that need no SSH, as a command asks for them: guest agent, namespaces, console."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labrun.errors import UnreachableError
from labrun.ports import Transport

if TYPE_CHECKING:
    from labrun.runner.engine.session import Session
    from labrun.tasks.provision.console import Login
    from labrun.tasks.provision.planning import SeenMachine

__all__ = ["OPENER", "Opener", "channels", "console_login", "running_machine"]

OPENER = "opener"
"""The key of ``host.data`` that holds the :data:`Opener`."""
Opener = Callable[[], Transport]
"""Opens the way into one host; raises a TransportError if there is none."""


def channels(session: Session, via: str) -> dict[str, Opener]:
    """Return the way into each of the session's hosts: ``agent`` (namespaces for containers) or ``console``.

    Raises HypervisorError. A host without such a way raises when its way is opened.
    """
    machines = session.machines()
    return {host: _opener(session, machines.get(host), host, via) for host in session.hosts}


def _opener(session: Session, seen: SeenMachine | None, host: str, via: str) -> Opener:
    def open_it() -> Transport:
        machine = _running(session, seen, host)
        domain = session.lab.libvirt_name(host)
        if via == "console":
            from labrun.tasks.provision.console import ConsoleTransport

            return ConsoleTransport(host, machine.uri, domain, console_login(session, host))
        from labrun.tasks.provision.driver_registry import driver_for

        transport = driver_for(machine.kind, machine.uri).out_of_band(domain)
        if transport is None:
            raise UnreachableError("its guest agent does not answer", host=host, step="agent")
        return transport

    return open_it


def running_machine(session: Session, host: str) -> SeenMachine:
    """Return a host's machine. Raises UnreachableError unless labrun made it and it runs."""
    return _running(session, session.machines().get(host), host)


def _running(session: Session, seen: SeenMachine | None, host: str) -> SeenMachine:
    if session.lab.hosts[host].machine is None:
        raise UnreachableError("an existing machine is reached by SSH only", host=host, step="machine")
    if seen is None:
        reason = "there is no such machine yet: `labrun up` makes it"
        raise UnreachableError(reason, host=host, step="machine")
    if seen.machine.state != "running":
        reason = f"the machine is {seen.machine.standing}: `labrun up` starts it"
        raise UnreachableError(reason, host=host, step="machine")
    return seen


def console_login(session: Session, host: str) -> Login:
    """Return the lab's own login at a host's console."""
    from labrun.tasks.provision.console import Login

    return Login(session.lab.hosts[host].user, session.state.console_password(host))
