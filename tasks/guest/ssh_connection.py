"""Netmiko's Linux connection over a login that exists, for tasks of users; labrun's own never load it.

Netmiko imports 260 modules, and its shell costs three times as much as the login: both wait until they are
asked for.
"""

from __future__ import annotations

import logging
from typing import Any

from netmiko.channel import SSHChannel
from netmiko.linux.linux_ssh import LinuxSSH

from labrun.tasks.guest.ssh_login import SshLogin

__all__ = ["LabSSH"]

# Netmiko also logs what it raises; without a handler Python would print that on stderr.
logging.getLogger("netmiko").addHandler(logging.NullHandler())


class LabSSH(LinuxSSH):
    """Netmiko's methods over ``login``, with further options of Netmiko's; the shell opens on first use."""

    def __init__(self, login: SshLogin, **options: Any):
        self._login = login
        self._shell_ready = False
        user = login.username
        super().__init__(host=login.host, port=login.port, username=user, device_type="linux", **options)

    def establish_connection(self, width: int = 511, height: int = 1000) -> None:
        """Take over the login, without opening a shell."""
        self._size = (width, height)
        self.remote_conn_pre = self._login.client

    def _try_session_preparation(self, force_data: bool = True) -> None:
        """Leave the shell for later."""

    def write_channel(self, out_data: str) -> None:
        """Write to the interactive shell, opening it first."""
        self._open_shell()
        super().write_channel(out_data)

    def read_channel(self) -> str:
        """Read from the interactive shell, opening it first."""
        self._open_shell()
        return str(super().read_channel())

    def _open_shell(self) -> None:
        if self._shell_ready or self.remote_conn_pre is None:
            return
        self._shell_ready = True
        width, height = self._size
        self.remote_conn = self.remote_conn_pre.invoke_shell(term="vt100", width=width, height=height)
        self.remote_conn.settimeout(self.blocking_timeout)
        self.channel = SSHChannel(conn=self.remote_conn, encoding=self.encoding)
        self.special_login_handler()
        super()._try_session_preparation()

    def cleanup(self, command: str = "exit") -> None:
        """Exit the shell if there is one."""
        if self._shell_ready:
            super().cleanup(command)

    def paramiko_cleanup(self) -> None:
        """Close the login, and with it the shell."""
        self._login.close()
        super().paramiko_cleanup()

    def is_alive(self) -> bool:
        """Tell whether the connection is up, without sending anything."""
        return self._login.is_alive()
