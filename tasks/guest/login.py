"""Log in to a host: dial its addresses, wait for one that answers, and only then load paramiko."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labrun.errors import HostKeyError, LabrunError, UnreachableError
from labrun.inventory.hosts.connections import TIMEOUTS
from labrun.state import SSH_PORT
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.jump_host import SHARED
from labrun.tasks.guest.tcp import dial

if TYPE_CHECKING:
    from labrun.tasks.guest.ssh_login import SshLogin

__all__ = ["LOGIN_OPTIONS", "log_in"]

LOGIN_OPTIONS = frozenset(
    {
        *("key_file", "allow_agent", "look_for_keys"),
        *("alt_host_keys", "alt_key_file", "system_host_keys", "host_key_alias"),
        *("ask_methods", "others", "other_ports", "patience", "jump"),
        *TIMEOUTS,
    }
)
"""The extras of a connection that matter to the login itself; Netmiko has many more for its shell."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


def log_in(host: str | None, username: str | None, port: int | None, extras: Mapping[str, Any]) -> SshLogin:
    """Log in with keys only; raises a TransportError with the reason.

    ``extras`` are keywords of :class:`labrun.tasks.guest.ssh_login.SshLogin`, and ``others`` and
    ``other_ports``: further addresses and ports (numbers in one text) to try if the host is not at the first;
    ``patience``: for how many seconds a refused or unanswered connection is retried (0 = a single attempt);
    and ``jump``: the options of a jump host that connects in labrun's place, as in
    :class:`labrun.tasks.guest.jump_host.JumpHosts`. Others are ignored. A wrong host key or a
    refused login is never retried. The user's ``~/.ssh/config`` is never read.
    """
    options: dict[str, Any] = {**TIMEOUTS, **{key: extras[key] for key in LOGIN_OPTIONS & extras.keys()}}
    patience = float(options.pop("patience", 0.0))
    addresses = [str(host or ""), *options.pop("others", ())]
    ports = [port or SSH_PORT, *map(int, str(options.pop("other_ports", "")).split())]
    options.update(username=username or "")
    places = [(address, candidate) for address in addresses for candidate in ports]
    return _connect(options, places, patience)


_Places = list[tuple[str, int]]


def _connect(options: dict[str, Any], places: _Places, patience: float) -> SshLogin:
    share = pace()
    until = time.monotonic() + share.remaining(patience)
    pause = _FIRST_PAUSE
    while True:
        try:
            return _connect_once(options, places, share.remaining(options["conn_timeout"]))
        except UnreachableError:
            left = until - time.monotonic()
            if left <= 0 or share.stopping.wait(min(pause, left)):
                raise
        pause = min(pause * 2, _LONGEST_PAUSE)


def _connect_once(options: dict[str, Any], places: _Places, timeout: float) -> SshLogin:
    """Try one address and port after the other; if all fail, raise the error of the first."""
    first: LabrunError | None = None
    # A firewall may be silent at a port that sshd has left: that must not use up the time for the others.
    share = timeout / len({port for _, port in places})
    for address, port in places:
        try:
            return _logged_in({**options, "host": address, "port": port}, share)
        except (UnreachableError, HostKeyError) as error:
            # Another key means that another host has the address by now.
            first = first or error
    assert first is not None
    raise first


def _logged_in(options: dict[str, Any], timeout: float) -> SshLogin:
    jump = options.pop("jump", None)
    where = options["host"], options["port"], timeout
    dialled = dial(*where) if jump is None else SHARED.dial(jump, *where)
    # paramiko takes a while to import: the first login pays for it, while sshd starts the session.
    from labrun.tasks.guest.ssh_login import SshLogin

    return SshLogin(dialled=dialled, through=jump["name"] if jump is not None else None, **options)
