"""The interfaces between labrun and its environment: a guest and a lease table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

__all__ = ["Completed", "Lease", "LeaseSource", "Transport"]


@dataclass(frozen=True, slots=True)
class Completed:
    """The result of a script: exit status, both streams as text, wall-clock seconds.

    ``started`` = a shell has read it; otherwise the rest is what the host did in its place.
    """

    exit_status: int
    stdout: str
    stderr: str
    seconds: float
    started: bool = True


class Transport(Protocol):
    """The only way into a guest: SSH, a jump host, a namespace or a guest agent."""

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        """Feed ``script`` to a POSIX shell in the guest and wait at most ``timeout`` seconds.

        ``sudo`` runs it as root by ``sudo -n``. A non-zero exit status is not an error. Raises a
        :class:`labrun.errors.TransportError` if the guest cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """An address of a guest's NIC, and its source (``lease``, ``agent``)."""

    mac: str
    address: IPv4Address | IPv6Address
    source: str


class LeaseSource(Protocol):
    """A source of the addresses that guests hold now."""

    def leases(self, networks: Iterable[str]) -> tuple[Lease, ...]:
        """Return the known leases of guests on these libvirt networks (full names)."""
        ...
