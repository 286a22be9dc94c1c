"""The seams between labrun and the world: what a guest and a lease table can do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

__all__ = ["Completed", "Lease", "LeaseSource", "Transport"]


@dataclass(frozen=True, slots=True)
class Completed:
    """What a script left behind: exit status, both streams as text, wall seconds."""

    exit_status: int
    stdout: str
    stderr: str
    seconds: float


class Transport(Protocol):
    """The only way into a guest: SSH, a jump host, a namespace or a guest agent."""

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        """Feed ``script`` to a POSIX shell in the guest and wait at most ``timeout`` seconds.

        ``sudo`` asks for root by ``sudo -n``. A non-zero exit status is no error here. Raises a
        :class:`labrun.errors.TransportError` when the guest cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """An address that a guest's NIC has, and who says so (``lease``, ``agent``)."""

    mac: str
    address: IPv4Address | IPv6Address
    source: str


class LeaseSource(Protocol):
    """Where the addresses that guests hold now can be read."""

    def leases(self, networks: Iterable[str]) -> tuple[Lease, ...]:
        """Return what is known of the guests on these libvirt networks (full names)."""
        ...
