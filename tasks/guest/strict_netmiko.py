"""Nornir-netmiko's connection in strict form: the one place where nornir-netmiko meets labrun's logins.

It is registered under the plugin's own name, ``netmiko``, so that tasks of users, ``netmiko_send_command``
and others, run over the login that labrun has already. It does not derive from the plugin, which would load
Netmiko's 260 modules in every run: they are loaded by the first task that uses Netmiko.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from nornir.core.configuration import Config

from labrun.tasks.guest.login import LOGIN_OPTIONS, log_in

if TYPE_CHECKING:
    from labrun.tasks.guest.ssh_connection import LabSSH
    from labrun.tasks.guest.ssh_login import SshLogin

__all__ = ["StrictNetmiko"]

# The login is always strict, and never reads such a file.
_SETTLED = frozenset({"ssh_strict", "ssh_config_file", "device_type"})


class StrictNetmiko:
    """A Nornir connection plugin: a login of labrun's, and Netmiko's methods over it once they are wanted.

    It checks host keys, logs in with keys only, never reads ``~/.ssh/config``, and opens no shell until a
    task needs one.
    """

    login: SshLogin

    def __init__(self, login: SshLogin | None = None) -> None:
        if login is not None:
            self.login = login
        self._options: dict[str, Any] = {}
        self._netmiko: LabSSH | None = None
        self._loading = threading.Lock()

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
        """Log in with keys only, with ``extras`` as in :func:`log_in`; raises a TransportError.

        Further extras are Netmiko's own, for its shell.
        """
        extras = extras or {}
        self._options = {key: extras[key] for key in extras.keys() - LOGIN_OPTIONS - _SETTLED}
        self.login = log_in(hostname, username, port, extras)

    @property
    def connection(self) -> LabSSH:
        """Return Netmiko's connection over the login."""
        with self._loading:
            if self._netmiko is None:
                from labrun.tasks.guest.ssh_connection import LabSSH

                self._netmiko = LabSSH(self.login, **self._options)
            return self._netmiko

    def close(self) -> None:
        """Close the connection; closing it again has no effect."""
        if self._netmiko is not None:
            self._netmiko.disconnect()
        self.login.close()
