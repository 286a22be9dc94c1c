"""`labrun console HOST`: the serial console of a machine, already logged in."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from labrun.errors import (
    AuthenticationError,
    CommandError,
    ConnectionLostError,
    LabrunError,
    UsageError,
)
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import complete_host, require_host
from labrun.runner.cli.terminal import say
from labrun.runner.engine.channels import console_login, running_machine
from labrun.runner.engine.session import open_session
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.tasks.provision.console import Line, Login

_END = 0x1D  # Ctrl-]
_SECONDS = 60.0
_SET_SECONDS = 15.0
_CHUNK = 4096
# Input that is not a terminal may end before its answers have arrived (seconds).
_LINGER = 2.0


@verb("console")
@click.argument("host", shell_complete=complete_host)
def command(invocation: Invocation, host: str) -> Report:
    """Attach to a host's serial console, already logged in; Ctrl-] ends it.

    It needs no network, so it works where SSH does not. The session stays logged in when you leave.
    """
    from labrun.tasks.provision.console import opened

    if invocation.json:
        raise UsageError("a console has no JSON output", step="console", hint="labrun exec --via console CMD")
    session = open_session(invocation)
    require_host(session.lab, host)
    machine = running_machine(session, host)
    login = console_login(session, host)
    domain = session.lab.libvirt_name(host)
    seconds = invocation.timeout or _SECONDS
    with opened(host, machine.uri, domain) as line:
        _log_in(line, machine.kind, machine.uri, domain, login, seconds)
        if not invocation.quiet:
            say(f"{host}: logged in as {login.user}; Ctrl-] ends")
        _hand_over(line)
    return Report(session.lab.name, text="")


def _log_in(line: Line, kind: str, uri: str, domain: str, login: Login, seconds: float) -> None:
    from labrun.tasks.provision.console import log_in

    try:
        log_in(line, login, time.monotonic() + seconds)
    except AuthenticationError:
        # A machine from before the lab had this login, or whose password was changed.
        if not _set_password(kind, uri, domain, login):
            raise
        log_in(line, login, time.monotonic() + seconds)


def _set_password(kind: str, uri: str, domain: str, login: Login) -> bool:
    """Set the login's password by guest agent or namespaces; return False if there is neither."""
    from labrun.tasks.guest.scripts import assigned, guest_script
    from labrun.tasks.provision.driver_registry import driver_for

    transport = driver_for(kind, uri).out_of_band(domain)
    if transport is None:
        return False
    script = assigned({"user": login.user, "password": login.password}) + guest_script("set_password")
    try:
        done = transport.run(script, timeout=_SET_SECONDS)
    except LabrunError:
        return False
    if done.exit_status != 0:
        raise CommandError(done.stderr.strip() or "chpasswd failed", step="console")
    return True


def _hand_over(line: Line) -> None:
    """Join the terminal and the console until Ctrl-], the end of the input, or of the console."""
    stdin, out = sys.stdin.fileno(), sys.stdout.fileno()
    ends: float | None = None
    with _raw(stdin):
        # The prompt was read by the login.
        line.write("\r")
        while ends is None or time.monotonic() < ends:
            watched = [line.descriptor, *([stdin] if ends is None else [])]
            ready, _, _ = select.select(watched, [], [], 0.2)
            if line.descriptor in ready:
                try:
                    text = line.read(0)
                except ConnectionLostError:
                    return
                _write_all(out, text.encode())
                ends = None if ends is None else time.monotonic() + _LINGER
            if stdin in ready:
                data = os.read(stdin, _CHUNK)
                before, end, _ = data.partition(bytes((_END,)))
                if before:
                    line.write(before.decode(errors="surrogateescape").replace("\n", "\r"))
                if end:
                    return
                if not data:
                    ends = time.monotonic() + _LINGER


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Pass every key on as it is, where the input is a terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        # Not the default, which throws away what was typed since the prompt was announced.
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        sys.stdout.write("\n")
