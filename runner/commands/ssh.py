"""`labrun ssh HOST [CMD]`: one host, with the lab's key and the lab's known_hosts."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import click

from labrun.errors import LabrunError, UnreachableError
from labrun.inventory.hosts.connections import Access, access_of
from labrun.inventory.hosts.ssh_command import login_words, proxy_command
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import complete_host, require_host
from labrun.runner.engine.absence import require_running
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb

_CONNECT_SECONDS = 10


@verb("ssh", passthrough=True)
@click.argument("host", shell_complete=complete_host)
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
def command(invocation: Invocation, host: str, cmd: tuple[str, ...]) -> Report:
    """Log in to a host, or run a command there and exit with its exit code.

    Everything after HOST goes to the host's shell, as with ssh. The host key must be
    the one that labrun gave the host; that of an existing machine is checked against known_hosts.
    """
    session = open_session(invocation)
    require_host(session.lab, host)
    require_running(session, host)
    arguments = ssh_arguments(session, host)
    try:
        done = subprocess.run([*arguments, *cmd], check=False)
    except FileNotFoundError as error:
        raise LabrunError("there is no ssh on this machine", hint="install openssh-client") from error
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Report(session.lab.name, text="" if not invocation.json else None, code=code)


def ssh_arguments(session: Session, host: str) -> list[str]:
    """Return the command line to log in to a host. Raises UnreachableError without an address."""
    places = session.locate()
    located = places[host]
    if located.address is None:
        raise UnreachableError(located.reason or "it has no address", host=host, step="address")
    lab_host = session.lab.hosts[host]
    access = access_of(session.lab, lab_host, session.state)
    proxy = proxy_command(session.lab, lab_host, places, session.state)
    address = str(located.address)
    if lab_host.machine is None:
        return [*login_words(lab_host, access, proxy), address]
    if proxy is None:
        access = replace(access, port=_answering(address, access))
    return [*login_words(lab_host, access, proxy), "-o", "LogLevel=ERROR", address]


def _answering(address: str, access: Access) -> int:
    """Return the first port of a host at which something answers; the recorded one if none does."""
    ports = (access.port, *access.others)
    if len(ports) == 1:
        return access.port
    from labrun.tasks.configure.behind import answers

    return next((port for port in ports if answers(address, port, _CONNECT_SECONDS / 2)), access.port)
