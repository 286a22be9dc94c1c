"""The values of a host bridge: the NIC, what addresses are wanted, one change, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface

from labrun.inventory.model import Address

__all__ = ["Addressing", "Change", "Device", "Interface", "Manager", "Record"]

Interface = IPv4Interface | IPv6Interface


class Manager(StrEnum):
    """What configures a NIC of the machine."""

    NETWORK_MANAGER = "NetworkManager"
    NETPLAN = "netplan"
    IFUPDOWN = "ifupdown"


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the kernel has it; ``kind`` is empty for hardware, ``gateways`` are of default routes.

    ``master`` is the bridge or bond that it is in, ``above`` are the devices that stand on it (VLANs,
    macvtap).
    """

    name: str
    mac: str = ""
    kind: str = ""
    master: str = ""
    wireless: bool = False
    loopback: bool = False
    addresses: tuple[Interface, ...] = ()
    gateways: tuple[Address, ...] = ()
    above: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Addressing:
    """The static addresses that a bridge gets in place of the NIC's, for the IP versions that occur in it."""

    addresses: tuple[Interface, ...]
    gateways: tuple[Address, ...] = ()
    nameservers: tuple[Address, ...] = ()

    @property
    def versions(self) -> tuple[int, ...]:
        """Return the IP versions that are replaced."""
        return tuple(sorted({each.version for each in self.addresses}))

    def addresses_of(self, version: int) -> tuple[Interface, ...]:
        """Return the addresses of one IP version, in the order given."""
        return tuple(each for each in self.addresses if each.version == version)

    def gateway_of(self, version: int) -> Address | None:
        """Return the default gateway of one IP version."""
        return next((each for each in self.gateways if each.version == version), None)


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a bridge that was made: enough to give the NIC back what it had.

    ``values`` are the manager's own (UUIDs); ``before`` and ``after`` are the texts of its files by path.
    """

    bridge: str
    nic: str
    manager: Manager
    values: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A change that the guard makes: the manager's shell variables, and the files beside the guard.

    ``files`` have paths below the guard's directory. ``record`` is kept when the change is; None removes it.
    """

    bridge: str
    nic: str
    manager: Manager
    to_bridge: bool
    values: Mapping[str, str]
    files: Mapping[str, str]
    record: Record | None
