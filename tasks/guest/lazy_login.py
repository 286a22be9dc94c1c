"""Nornir's connection ``netmiko`` before anything has asked for it: labrun's login, made on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir.core.configuration import Config
from nornir.core.inventory import Host

from labrun.tasks.guest.transport import CONNECTION, transport_of

if TYPE_CHECKING:
    from labrun.tasks.guest.ssh_connection import LabSSH

__all__ = ["LazyLogin", "offer_login"]


class LazyLogin:
    """A connection of Nornir's that logs in as labrun does (jump hosts, former addresses, moved ports).

    Nornir itself would open the plugin with the options of one address.
    """

    def __init__(self, host: Host):
        self._host = host

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
        """Do nothing: the login waits until it is wanted."""

    @property
    def connection(self) -> LabSSH:
        """Log in, take the login's place among the host's connections, and return it.

        Raises a TransportError.
        """
        transport_of(self._host)
        connection: LabSSH = self._host.connections[CONNECTION].connection
        return connection

    def close(self) -> None:
        """Do nothing: there was no login."""


def offer_login(host: Host) -> None:
    """Have Nornir's ``host.get_connection("netmiko")`` give labrun's own login to this host."""
    if CONNECTION not in host.connections:
        host.connections[CONNECTION] = LazyLogin(host)
