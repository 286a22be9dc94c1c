"""The frozen model of the lab file's networks and of the hosts' NICs on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import MappingProxyType
from typing import Literal

from labrun.inventory.traffic import HypervisorForward

__all__ = ["Address", "DhcpRange", "Interface", "Mode", "Network", "Prefix", "Vlan"]

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


class Mode(StrEnum):
    """How far the guests of a network can reach."""

    NAT = "nat"
    ROUTE = "route"
    OPEN = "open"
    ISOLATED = "isolated"
    VERY_ISOLATED = "very-isolated"
    BRIDGE = "bridge"
    MACVTAP = "macvtap"

    @property
    def has_hypervisor_address(self) -> bool:
        """Tell whether the hypervisor has an address on such a network, unless the file says none."""
        return self in (Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.ISOLATED)

    @property
    def has_uplink(self) -> bool:
        """Tell whether the hypervisor forwards for the network's guests."""
        return self in (Mode.NAT, Mode.ROUTE, Mode.OPEN)


@dataclass(frozen=True, slots=True)
class DhcpRange:
    """First and last IPv4 address that libvirt's DHCP server hands out."""

    first: IPv4Address
    last: IPv4Address


@dataclass(frozen=True, slots=True)
class Vlan:
    """An 802.1Q VLAN: the lab network whose frames carry the tag, and the tag's ID, 1 to 4094."""

    on: str
    id: int


@dataclass(frozen=True, slots=True)
class Network:
    """One lab network.

    ``hypervisor4``/``hypervisor6`` are the addresses that libvirt gives the hypervisor on it, None if it has
    none; ``dhcp`` is None if libvirt serves no DHCP. ``dhcp6`` are the first and last address of its DHCPv6,
    which it serves where a NIC asks for it; otherwise its router advertisements let guests make their own.
    ``bridge`` is an existing one that it stands on, ``bridge_name`` the name of the one that libvirt makes,
    None if it may choose. ``vlan`` is None unless its frames travel on another network: then libvirt has no
    network of it, and the hypervisor no part in it.
    """

    name: str
    mode: Mode
    cidr: IPv4Network | None = None
    cidr6: IPv6Network | None = None
    hypervisor4: IPv4Interface | None = None
    hypervisor6: IPv6Interface | None = None
    dhcp: DhcpRange | None = None
    dhcp6: tuple[IPv6Address, IPv6Address] | None = None
    domain: str | None = None
    mtu: int | None = None
    autostart: bool = True
    dev: str | None = None
    bridge: str | None = None
    bridge_name: str | None = None
    nat_ports: tuple[int, int] | None = None
    dns: Mapping[str, str] = field(default_factory=_nothing)
    forward: tuple[HypervisorForward, ...] = ()
    vlan: Vlan | None = None

    def hypervisor(self, version: int) -> IPv4Interface | IPv6Interface | None:
        """Return the hypervisor's address in this IP version, None if it has none."""
        return self.hypervisor4 if version == 4 else self.hypervisor6

    @property
    def kind(self) -> str:
        """Return its mode, or for a VLAN what it is a part of."""
        return self.mode.value if self.vlan is None else f"vlan {self.vlan.id} on {self.vlan.on}"

    @property
    def is_beyond(self) -> bool:
        """Tell whether it is a part of a network outside, whose hosts and routes the lab does not know."""
        return self.mode in (Mode.BRIDGE, Mode.MACVTAP)

    @property
    def is_served(self) -> bool:
        """Tell whether libvirt's DNS runs on it: that needs an address of the hypervisor."""
        return self.hypervisor4 is not None or self.hypervisor6 is not None


@dataclass(frozen=True, slots=True)
class Interface:
    """One NIC of a host: ``name`` tells it from the host's others, ``network`` says where it is.

    The name is that of its network unless the file gives it another, which it needs where the host has
    several NICs on one network. ``mac`` is lower case with colons, empty for an existing machine if the
    file gives none. ``ipv4`` is the fixed or (with ``dhcp``) the reserved address with its prefix length,
    None if only an external DHCP server knows it. ``more`` are further fixed addresses. ``ipv6_method`` is
    how the NIC gets its IPv6 address if that is not fixed: ``auto`` by router advertisements, then ``ipv6``
    is what it makes of its MAC, or ``dhcp`` from a DHCPv6 server, then it is reserved; None if only somebody
    else's server knows it.
    ``spoofing: deny`` = the hypervisor drops frames with addresses declared for others. ``model`` is what a
    VM sees, None = virtio.
    """

    network: str
    mac: str
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    dhcp: bool = False
    filter: str | None = None
    nmcli: Mapping[str, str] = field(default_factory=_nothing)
    spoofing: Literal["allow", "deny"] = "deny"
    more: tuple[IPv4Interface | IPv6Interface, ...] = ()
    ipv6_method: Literal["", "auto", "dhcp"] = ""
    model: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.network)

    @property
    def addresses(self) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """Return every address that the file knows, IPv4 first, the main one of each version first."""
        return (*self.of(4), *self.of(6))

    def of(self, version: int) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """Return the addresses of one IP version, the main one first."""
        main = self.ipv4 if version == 4 else self.ipv6
        further = (each for each in self.more if each.version == version)
        return (main, *further) if main is not None else tuple(further)

    def leases(self, version: int) -> bool:
        """Tell whether only a server knows the NIC's address of this IP version."""
        if version == 4:
            return self.dhcp
        return self.ipv6_method == "dhcp" or (self.ipv6_method == "auto" and self.ipv6 is None)

    def has(self, version: int) -> bool:
        """Tell whether the NIC has an address of this IP version, in the file or from a DHCP server."""
        return bool(self.of(version)) or self.leases(version)
