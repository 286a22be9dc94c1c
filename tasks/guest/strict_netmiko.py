"""Nornir-netmiko's connection plugin in strict form: the one place where nornir-netmiko works for labrun.

It is registered under the plugin's own name, ``netmiko``, so that tasks of users, ``netmiko_send_command``
and others, run over the login that labrun has already.
"""

from __future__ import annotations

from typing import Any

from nornir.core.configuration import Config
from nornir_netmiko.connections import Netmiko

from labrun.tasks.guest.login import log_in
from labrun.tasks.guest.ssh_connection import LabSSH

__all__ = ["StrictNetmiko"]


class StrictNetmiko(Netmiko):
    """Nornir-netmiko's plugin whose connection is a :class:`LabSSH`.

    That checks host keys, logs in with keys only, never reads ``~/.ssh/config``, and opens no shell until a
    task needs one.
    """

    connection: LabSSH

    def open(
        self,
        hostname: str | None,
        username: str | None,
        password: str | None,
        port: int | None,
        platform: str | None,
        extras: dict[str, Any] | None = None,
        configuration: Config | None = None,
    ) -> None:
        """Log in with keys only, with ``extras`` as in :func:`log_in`; raises a TransportError."""
        self.connection = log_in(hostname, username, port, extras or {})
