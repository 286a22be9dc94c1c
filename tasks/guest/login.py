"""Log in to a host: dial its addresses, wait for one that answers, and only then load SSH code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from labrun.errors import HostKeyError, LabrunError, UnreachableError
from labrun.inventory.hosts.connections import TIMEOUTS
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.tcp import dial

if TYPE_CHECKING:
    from labrun.tasks.guest.ssh_login import SshLogin

__all__ = ["log_in"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


def log_in(host: str | None, username: str | None, port: int | None, extras: dict[str, Any]) -> SshLogin:
    """Log in with keys only; raises a TransportError with the reason.

    ``extras`` are keywords of :class:`labrun.tasks.guest.ssh_login.SshLogin`, and ``others``: further
    addresses to try if the host is not at the first, and ``patience``: for how many seconds a refused or
    unanswered connection is retried (0 = a single attempt). A wrong host key or a refused login is never
    retried. The user's ``~/.ssh/config`` is never read.
    """
    options: dict[str, Any] = {**TIMEOUTS, **extras, "username": username or "", "port": port or 22}
    # Netmiko's names for what a login of labrun's always does.
    for name in ("ssh_strict", "ssh_config_file"):
        options.pop(name, None)
    patience = float(options.pop("patience", 0.0))
    addresses = [str(host or ""), *options.pop("others", ())]
    return _connect(options, addresses, patience)


def _connect(options: dict[str, Any], addresses: list[str], patience: float) -> SshLogin:
    share = pace()
    until = time.monotonic() + share.remaining(patience)
    pause = _FIRST_PAUSE
    while True:
        try:
            return _connect_once(options, addresses, share.remaining(options["conn_timeout"]))
        except UnreachableError:
            left = until - time.monotonic()
            if left <= 0 or share.stopping.wait(min(pause, left)):
                raise
        pause = min(pause * 2, _LONGEST_PAUSE)


def _connect_once(options: dict[str, Any], addresses: list[str], timeout: float) -> SshLogin:
    """Try one address after the other; if all fail, raise the error of the first."""
    first: LabrunError | None = None
    for address in addresses:
        try:
            return _logged_in({**options, "host": address}, timeout)
        except (UnreachableError, HostKeyError) as error:
            # Another key means that another host has the address by now.
            first = first or error
    assert first is not None
    raise first


def _logged_in(options: dict[str, Any], timeout: float) -> SshLogin:
    dialled = dial(options["host"], options["port"], timeout)
    # paramiko takes a while to import: the first login pays for it, while sshd starts the session.
    from labrun.tasks.guest.ssh_login import SshLogin

    return SshLogin(dialled=dialled, **options)
