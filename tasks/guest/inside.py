"""The transport of a task on a host: SSH, or where no login is possible, namespaces, agent or console."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from nornir.core.inventory import Host

from labrun.ports import Completed, Transport
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.transport import SshTransport, transport_of

__all__ = ["OPENER", "HostTransport", "InsideTransport", "Opener", "host_transport", "inside_of"]

OPENER = "opener"
"""The key of ``host.data`` with the :data:`Opener` of a host that is not reached over SSH."""
Opener: TypeAlias = Callable[[], Transport]
"""Opens the channel into one host; raises a TransportError if there is none."""


class InsideTransport:
    """A channel into one host with the interface of an SshTransport; scripts run as root.

    There is no address, no port, and nothing that a login without a key could be offered.
    """

    address: str | None = None
    port: int | None = None
    offered: frozenset[str] | None = None

    def __init__(self, host: str, opener: Opener, user: str):
        self.host = host
        self.user = user
        self._channel = opener()

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        """Feed ``script`` to ``sh`` in the guest, as root, within ``timeout`` seconds.

        Raises a TransportError if the guest cannot be used.
        """
        return self._channel.run(script, timeout=pace().remaining(timeout), sudo=sudo)

    def keep_shell(self) -> None:
        """Do nothing: each script has a shell of its own."""

    def end_shell(self) -> None:
        """Do nothing: no shell is kept."""

    def notice_loss(self, seconds: int) -> None:
        """Do nothing: no change to the network can cut the channel off."""

    def close(self) -> None:
        """Do nothing: the channel is opened for each script."""


HostTransport: TypeAlias = SshTransport | InsideTransport
"""How a task works on a host."""


def host_transport(host: Host) -> HostTransport:
    """Return the transport into a host: the way in its data if it has one, else a login.

    Raises a TransportError if the guest cannot be used.
    """
    return inside_of(host) or transport_of(host)


def inside_of(host: Host) -> InsideTransport | None:
    """Return the transport by the way in a host's data, None if it has none: then one logs in."""
    opener: Opener | None = host.data.get(OPENER)
    return None if opener is None else InsideTransport(host.name, opener, str(host.username or "root"))
