"""Access to a guest over SSH: Nornir's connection ``netmiko``, and scripts over its exec channels."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nornir.core.inventory import Host
from nornir.core.plugins.connections import ConnectionPluginRegister

from labrun.errors import LabrunError, UnreachableError
from labrun.inventory.hosts.connections import JUMP, OPTIONS
from labrun.ports import Completed
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.login import log_in
from labrun.tasks.guest.scripts import wrapped
from labrun.tasks.guest.strict_netmiko import StrictNetmiko

if TYPE_CHECKING:
    import paramiko

    from labrun.tasks.guest.persistent_shell import PersistentShell
    from labrun.tasks.guest.ssh_login import SshLogin

__all__ = [
    "CONNECTION",
    "LOGGED_IN_AT",
    "SshTransport",
    "fresh_transport",
    "port_of",
    "register_connection",
    "transport_of",
]

CONNECTION = "netmiko"
"""The connection's name, nornir-netmiko's own: tasks of users that ask for it get labrun's login."""
LOGGED_IN_AT = "labrun_logged_in_at"
"""The key of ``host.data`` with the port of the last login, where that was not the connection's."""
# `env` because the login shell need not be POSIX; UTF-8 so that nmcli prints names unchanged.
_SHELL = "env LC_ALL=C.UTF-8 sh -s"
_SUDO_SHELL = "env LC_ALL=C.UTF-8 sudo -n sh -s"
# It hands its child no variable by itself, and where it becomes the child nobody else has them.
_DOAS_SHELL = 'doas -n env LC_ALL=C.UTF-8 SSH_CONNECTION="$SSH_CONNECTION" sh -s'
_REFUSED = re.compile(r"^((?:sudo|doas): .+|Sorry, user .+|.+ is not in the sudoers file.*)$", re.MULTILINE)
_NO_SUDO = re.compile(r"env: .*sudo.*: No such file or directory")
_NOT_FOUND = 127
_NO_TTY = "must have a tty"
_LONGEST_WORDS = 200


class SshTransport:
    """A :class:`labrun.ports.Transport` over one SSH connection; leaving its context closes a private one."""

    def __init__(self, host: str, login: SshLogin, *, owned: bool = False):
        self.host = host
        self.login = login
        self._owned = owned
        self._keeps_shell = False
        self._root: PersistentShell | None = None
        self._as_root = _SUDO_SHELL

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        """Feed ``script`` to ``sh`` in the guest, as root with ``sudo``, within ``timeout`` seconds.

        The shell parses the whole script before it runs any of it. Raises UnreachableError (nothing was
        started; also if sudo refuses), ConnectionLostError (its effect is unknown).
        """
        deadline = time.monotonic() + pace().remaining(timeout)
        transport = self.login.transport
        with _named(self.host):
            if transport is None:
                raise UnreachableError("the connection is closed", step="session")
            done = self._run(transport, script, deadline, sudo)
            if sudo and _has_no_sudo(done) and self._as_root == _SUDO_SHELL:
                # Nothing has run yet. Alpine and others have doas.
                self._as_root = _DOAS_SHELL
                by_doas = self._run(transport, script, deadline, sudo)
                # Where that is not there either, sudo is what is missing.
                done = done if by_doas.exit_status == _NOT_FOUND and not by_doas.started else by_doas
            if sudo and transport.get_username() != "root":
                _check_sudo(done, self.login.username)
            if not done.started:
                raise _no_shell(done, self.login.username)
        return done

    def _run(self, transport: paramiko.Transport, script: str, deadline: float, sudo: bool) -> Completed:
        from labrun.tasks.guest.exec_channel import Greeting, run_script
        from labrun.tasks.guest.output import TooMuchOutputError
        from labrun.tasks.guest.persistent_shell import PersistentShell

        # Root needs no sudo, and an existing machine may have none.
        command = self._as_root if sudo and transport.get_username() != "root" else _SHELL
        if not (sudo and self._keeps_shell):
            greeting = Greeting()
            text = greeting.script + wrapped(script)
            try:
                return greeting.taken_out(run_script(transport, command, text, deadline=deadline))
            except TooMuchOutputError as error:
                error.kept = greeting.taken_out(error.kept)
                raise
        if self._root is None or not self._root.is_open:
            self._root = PersistentShell(transport, command)
        return self._root.run(script, deadline=deadline)

    def keep_shell(self) -> None:
        """Run root's scripts in one persistent shell from now on; not thread-safe."""
        self._keeps_shell = True

    def end_shell(self) -> None:
        """End the persistent shell, if any; the connection stays open."""
        self._keeps_shell = False
        if self._root is not None:
            self._root.close()
            self._root = None

    @property
    def address(self) -> str:
        """Return the address the connection uses."""
        return self.login.host

    @property
    def port(self) -> int:
        """Return the port the connection uses."""
        return self.login.port

    @property
    def user(self) -> str:
        """Return the login user."""
        return self.login.username

    @property
    def offered(self) -> frozenset[str] | None:
        """Return the methods that sshd offered to a login without a key; None if it was not asked."""
        return self.login.offered

    def notice_loss(self, seconds: int) -> None:
        """Treat a host whose kernel has not acknowledged for ``seconds`` as gone: its address may change."""
        self.login.notice_loss(seconds)

    def close(self) -> None:
        """Close the connection if it is private to this transport; a host's shared one stays open."""
        self.end_shell()
        if self._owned:
            self.login.close()

    def __enter__(self) -> SshTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _has_no_sudo(done: Completed) -> bool:
    return done.exit_status == _NOT_FOUND and not done.stdout and bool(_NO_SUDO.search(done.stderr))


def _check_sudo(done: Completed, user: str) -> None:
    if done.exit_status not in (1, 127) or done.stdout:
        return
    lines = done.stderr.strip().splitlines()
    refused = bool(lines) and done.exit_status == 1 and all(_REFUSED.match(line) for line in lines)
    if refused or _NO_SUDO.search(done.stderr):
        who = user or "USER"
        program, how = "sudo", " without a password"
        if lines[-1].startswith("doas:"):
            program, cure = "doas", f"`permit nopass {who}` in the guest's /etc/doas.conf"
        elif _NO_TTY in lines[-1]:
            how, cure = "", f"`Defaults:{who} !requiretty` in the guest's sudoers"
        else:
            cure = f"`{who} ALL=(ALL) NOPASSWD: ALL` in the guest's sudoers"
        reason = f"{program} does not work for {user or 'the user'}{how}: {lines[-1]}"
        raise UnreachableError(reason, step="sudo", hint=f"labrun needs {cure}")


def _no_shell(done: Completed, user: str) -> UnreachableError:
    """Return the error for a login that has run something else than the script, with the host's words."""
    said = [line.strip() for text in (done.stderr, done.stdout) for line in text.splitlines() if line.strip()]
    last = f"it said {said[-1][:_LONGEST_WORDS]!r}" if said else "it printed nothing"
    return UnreachableError(
        f"the login of {user or 'the user'} runs no commands: {last} and ended with exit status"
        f" {done.exit_status}",
        step="session",
        hint="its shell, the files that the shell reads first, or a ForceCommand of sshd's",
    )


def _addresses(host: Host, beside: str) -> list[str]:
    """Return the host's address, followed by those its data has under ``beside``."""
    reason = host.data.get("labrun_unreachable")
    addresses = [] if reason or not host.hostname else [str(host.hostname)]
    addresses = list(dict.fromkeys([*addresses, *host.data.get(beside, ())]))
    if not addresses:
        raise UnreachableError(str(reason or "it has no address"), host=host.name, step="address")
    return addresses


def transport_of(host: Host, *, patience: float = 0.0, dial: float | None = None) -> SshTransport:
    """Return the host's transport, logging in if there is no live connection yet.

    ``patience`` is for how many seconds an unresponsive host is retried, ``dial`` how many seconds one
    attempt waits for TCP, in place of the host's ``conn_timeout``. A host that is not at its current
    address is tried at its former ones (``labrun_former`` in its data). Raises UnreachableError,
    AuthenticationError or HostKeyError.
    """
    opened = host.connections.get(CONNECTION)
    if opened is not None:
        if isinstance(opened, StrictNetmiko) and opened.login.is_alive():
            return SshTransport(host.name, opened.login)
        # A user's task may have opened it before labrun's plugin was registered.
        host.close_connection(CONNECTION)
    register_connection()
    address, *former = _addresses(host, "labrun_former")
    login = _log_in(host, address, _extras(host, former, patience, dial))
    host.connections[CONNECTION] = StrictNetmiko(login)
    return SshTransport(host.name, login)


def port_of(host: Host) -> int | None:
    """Return the port where the host's last login worked, None without one."""
    opened = host.connections.get(CONNECTION)
    port = opened.login.port if isinstance(opened, StrictNetmiko) and hasattr(opened, "login") else None
    return host.data.get(LOGGED_IN_AT, port)


def fresh_transport(
    host: Host,
    *,
    address: str | None = None,
    ports: Sequence[int] = (),
    patience: float = 0.0,
    dial: float | None = None,
    ask_methods: bool = False,
) -> SshTransport:
    """Return a second, private transport over a new, key-only login; close it after use.

    It proves that a login still works: at ``address``, or only where the host should be now, which
    includes the address reserved for it (``labrun_expected`` in its data). ``ports`` are tried instead of the
    host's, in this order. ``patience`` and ``dial`` are as in :func:`transport_of`. With ``ask_methods`` sshd
    is first asked which methods it would accept without a key.
    """
    first, *others = [address] if address else _addresses(host, "labrun_expected")
    extras = {**_extras(host, others, patience, dial), "ask_methods": ask_methods}
    if ports:
        extras["other_ports"] = " ".join(map(str, ports[1:]))
    return SshTransport(host.name, _log_in(host, first, extras, *ports[:1]), owned=True)


def _log_in(host: Host, address: str, extras: dict[str, Any], port: int | None = None) -> SshLogin:
    options = host.get_connection_parameters(OPTIONS)
    with _named(host.name):
        return log_in(address, options.username, port or options.port, extras)


def _through(host: Host) -> dict[str, Any]:
    """Return the options of the jump host that leads to a host, as ``jump``; empty if it needs none.

    They are put together for each login: where a jump host answers may be found only after the run began.
    """
    jump: Host | None = host.data.get(JUMP)
    if jump is None:
        return {}
    try:
        address, *others = _addresses(jump, "labrun_expected")
    except UnreachableError as error:
        raise UnreachableError(f"its jump host {jump.name}: {error.reason}", step="connect") from error
    others += [former for former in jump.data.get("labrun_former", ()) if former not in others]
    options = jump.get_connection_parameters(OPTIONS)
    login = {"name": jump.name, "host": address, "port": options.port, "username": options.username}
    return {"jump": {**(options.extras or {}), **login, "others": others, **_through(jump)}}


def _extras(host: Host, others: list[str], patience: float, dial: float | None) -> dict[str, Any]:
    extras = {**(host.get_connection_parameters(OPTIONS).extras or {}), **_through(host)}
    if dial is not None:
        extras["conn_timeout"] = dial
    if others:
        extras["others"] = others
    return {**extras, "patience": patience} if patience else extras


@contextmanager
def _named(host: str) -> Iterator[None]:
    try:
        yield
    except LabrunError as error:
        error.host = error.host or host
        raise


def register_connection() -> None:
    """Register labrun's strict form of nornir-netmiko's plugin in its place; repeating that is harmless."""
    if ConnectionPluginRegister.available.get(CONNECTION) not in (None, StrictNetmiko):
        ConnectionPluginRegister.deregister(CONNECTION)
    ConnectionPluginRegister.register(CONNECTION, StrictNetmiko)
