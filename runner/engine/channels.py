"""Channels into a machine without SSH, as a command requests them: guest agent, namespaces, console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from labrun.errors import UnreachableError
from labrun.inventory.hosts.locate import no_logins
from labrun.ports import Transport
from labrun.tasks.guest.inside import Opener

if TYPE_CHECKING:
    from labrun.inventory.hosts.locate import Located
    from labrun.runner.engine.session import Session
    from labrun.tasks.provision.console import Login
    from labrun.tasks.provision.planning import SeenMachine

__all__ = ["channels", "console_login", "openers_inside", "running_machine"]


def channels(session: Session, via: str) -> dict[str, Opener]:
    """Return the channel into each of the session's hosts: ``agent`` (namespaces for containers) or
    ``console``.

    Raises HypervisorError. A host without such a channel raises when it is opened.
    """
    machines = session.machines()
    return {host: _opener(session, machines, host, via) for host in session.hosts}


def openers_inside(session: Session, located: Mapping[str, Located]) -> dict[str, Opener]:
    """Return the channel into each machine that, by the lab file, cannot be logged in to.

    That is its namespaces or guest agent and, where no agent answers, its console. Raises HypervisorError.
    """
    apart = no_logins(session.lab, located)
    machines = session.machines() if apart else {}
    return {host: _opener(session, machines, host, "agent or console") for host in apart}


def _opener(session: Session, seen: Mapping[str, SeenMachine], host: str, via: str) -> Opener:
    def open_it() -> Transport:
        machine = _running(session, seen, host)
        domain = session.lab.libvirt_name(host)
        if via == "console":
            return _console(session, host, machine)
        from labrun.tasks.provision.driver_registry import driver_for

        transport = driver_for(machine.kind, machine.uri).out_of_band(domain)
        if transport is None and via != "agent":
            return _console(session, host, machine)
        if transport is None:
            raise UnreachableError("its guest agent does not answer", host=host, step="agent")
        return transport

    return open_it


def _console(session: Session, host: str, machine: SeenMachine) -> Transport:
    from labrun.tasks.provision.console import ConsoleTransport

    domain = session.lab.libvirt_name(host)
    return ConsoleTransport(host, machine.uri, domain, console_login(session, host))


def running_machine(session: Session, host: str) -> SeenMachine:
    """Return a host's machine. Raises UnreachableError unless labrun made it and it runs."""
    return _running(session, session.machines(), host)


def _running(session: Session, machines: Mapping[str, SeenMachine], host: str) -> SeenMachine:
    if session.lab.hosts[host].machine is None:
        raise UnreachableError("an existing machine is reached by SSH only", host=host, step="machine")
    seen = machines.get(host)
    if seen is None:
        raise UnreachableError(session.absent(machines)[host], host=host, step="machine")
    if seen.machine.state != "running":
        reason = f"the machine is {seen.machine.standing}: `labrun up` starts it"
        raise UnreachableError(reason, host=host, step="machine")
    return seen


def console_login(session: Session, host: str) -> Login:
    """Return the lab's own login at a host's console."""
    from labrun.tasks.provision.console import Login

    return Login(session.lab.hosts[host].user, session.state.console_password(host))
