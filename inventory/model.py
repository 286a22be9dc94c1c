"""The frozen model of lab.yaml, with every derived value (addresses, MACs, DHCP ranges) filled in."""

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

from labrun.inventory.check_model import Check
from labrun.inventory.route_patterns import RoutePattern
from labrun.inventory.traffic import Filter, Firewall, HypervisorForward, Nat

__all__ = [
    "DEFAULT_USER",
    "Address",
    "DhcpRange",
    "Disk",
    "FileSpec",
    "Gateway",
    "Host",
    "Image",
    "Interface",
    "Lab",
    "Machine",
    "Mode",
    "Network",
    "Notice",
    "Prefix",
    "Role",
    "RoutePattern",
    "Service",
    "SshSettings",
    "StaticRoute",
]

DEFAULT_USER = "lab"
"""The login user of a machine for which the lab file names none."""

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


class Role(StrEnum):
    """A router forwards between its networks; a host does not."""

    HOST = "host"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class DhcpRange:
    """First and last IPv4 address that libvirt's DHCP server hands out."""

    first: IPv4Address
    last: IPv4Address


@dataclass(frozen=True, slots=True)
class Network:
    """One lab network.

    ``hypervisor4``/``hypervisor6`` are the addresses that libvirt gives the hypervisor on it, None if it has
    none; ``dhcp`` is None if libvirt serves no DHCP. ``dhcp6`` are the first and last address of its DHCPv6,
    which it serves where a NIC asks for it; otherwise its router advertisements let guests make their own.
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
    nat_ports: tuple[int, int] | None = None
    dns: Mapping[str, str] = field(default_factory=_nothing)
    forward: tuple[HypervisorForward, ...] = ()

    def hypervisor(self, version: int) -> IPv4Interface | IPv6Interface | None:
        """Return the hypervisor's address in this IP version, None if it has none."""
        return self.hypervisor4 if version == 4 else self.hypervisor6

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
    """One NIC of a host.

    ``mac`` is lower case with colons, empty for an existing machine if the file gives none. ``ipv4`` is the
    fixed or (with ``dhcp``) the reserved address with its prefix length, None if only an external DHCP
    server knows it. ``more`` are further fixed addresses. ``ipv6_method`` is how the NIC gets its IPv6
    address if that is not fixed: ``auto`` by router advertisements, then ``ipv6`` is what it makes of its
    MAC, or ``dhcp`` from a DHCPv6 server, then it is reserved; None if only somebody else's server knows it.
    ``spoofing: deny`` = the hypervisor drops frames with addresses declared for others.
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


@dataclass(frozen=True, slots=True)
class Disk:
    """An additional disk of a machine; ``size`` in GiB."""

    size: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that labrun creates: ``memory`` in MiB, ``disk`` in GiB, ``driver`` None = the lab's."""

    image: str
    memory: int
    vcpus: int
    disk: int
    disks: tuple[Disk, ...] = ()
    firmware: Literal["bios", "uefi"] = "bios"
    autostart: bool = False
    driver: Literal["lxc", "qemu"] | None = None


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How an existing machine (``address:``) is reached; None = the user's ssh defaults."""

    user: str | None = None
    port: int = 22
    identity: str | None = None
    known_hosts: str | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """The value of ``gateway:``: kind ``auto``, ``none``, ``host`` (with ``host``) or ``address``.

    ``network`` is where a link-local address is, None for any other.
    """

    kind: Literal["auto", "none", "host", "address"] = "auto"
    host: str | None = None
    address: Address | None = None
    network: str | None = None


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A declared route; ``via`` is resolved to an address on one of the host's networks.

    ``network`` is where a link-local address is, None for any other.
    """

    to: Prefix
    via: Address
    network: str | None = None


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file that ``configure`` keeps in place, with its content already read or rendered.

    ``mode`` is octal text, ``owner`` and ``group`` are names; None = an existing file keeps its value.
    ``validate`` is a command with ``%s`` for the candidate file, ``on_change`` a command to run afterwards.
    ``secret`` = the content is never shown, regardless of the mode.
    """

    path: str
    content: bytes = b""
    mode: str | None = None
    owner: str | None = None
    group: str | None = None
    validate: str | None = None
    on_change: str | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A systemd unit: whether it starts at boot and whether it runs now; None = leave it as it is."""

    enabled: bool | None = None
    running: bool | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of the lab, groups and defaults already merged in.

    ``machine`` is None for an existing machine (``address`` set). Routes that fit one of ``ignored_routes``
    are left alone. ``sysctl`` and ``sshd`` hold only
    declared values, not the role's defaults; ``sshd`` None = leave sshd alone, a repeatable keyword has
    several values; ``sshd_profile`` None = derived from the host's part in the lab. ``hosts_file`` =
    /etc/hosts lists the lab's names. ``last_resort`` is what the host may do if it is still cut off after a
    rollback.
    """

    name: str
    role: Role
    interfaces: tuple[Interface, ...]
    user: str
    machine: Machine | None
    gateway: Gateway = Gateway()
    routes: tuple[StaticRoute, ...] = ()
    ignored_routes: tuple[RoutePattern, ...] = ()
    sysctl: Mapping[str, str] = field(default_factory=_nothing)
    sshd: Mapping[str, tuple[str, ...]] | None = field(default_factory=lambda: MappingProxyType({}))
    sshd_profile: Literal["host", "router", "bastion"] | None = None
    firewall: Firewall | None = None
    nat: Nat | None = None
    selinux: Literal["enforcing", "permissive", "disabled"] | None = None
    packages: tuple[str, ...] = ()
    files: tuple[FileSpec, ...] = ()
    services: Mapping[str, Service] = field(default_factory=lambda: MappingProxyType({}))
    hostname: str | None = None
    hosts_file: bool = True
    exclusive: bool = False
    access_via: str | None = None
    redundancy: str | None = None
    last_resort: Literal["reboot", "leave"] = "leave"
    groups: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    address: str | None = None
    ssh: SshSettings = SshSettings()

    def interface_on(self, network: str) -> Interface | None:
        """Return the NIC on that network, None if there is none."""
        return next((nic for nic in self.interfaces if nic.network == network), None)


@dataclass(frozen=True, slots=True)
class Image:
    """An image declared in the file: exactly one of url, path, build."""

    name: str
    url: str | None = None
    sha256: str | None = None
    path: str | None = None
    build: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Notice:
    """A key that is accepted and changes nothing.

    ``why`` tells why it has no effect where it stands, empty = this release does not act on it yet.
    """

    line: int
    path: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.path} has no effect: {self.why}" if self.why else f"{self.path} is not acted on yet"


@dataclass(frozen=True, slots=True)
class Lab:
    """A whole lab. Networks, hosts and NICs keep the file order.

    ``digest`` is the SHA-256 (hex) of the file's bytes; relative paths in the file start at ``directory``.
    """

    name: str
    hypervisor: str
    networks: Mapping[str, Network]
    hosts: Mapping[str, Host]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    images: Mapping[str, Image] = field(default_factory=lambda: MappingProxyType({}))
    filters: Mapping[str, Filter] = field(default_factory=lambda: MappingProxyType({}))
    checks: tuple[Check, ...] = ()
    routing: Literal["auto", "manual"] = "auto"
    schedule_every: str | None = None
    notices: tuple[Notice, ...] = ()
    source: str = "lab.yaml"
    directory: str = "."
    digest: str = ""

    @property
    def needs_hypervisor(self) -> bool:
        """Tell whether labrun creates any of the machines; if not, it does not need libvirt."""
        return any(host.address is None for host in self.hosts.values())

    def libvirt_name(self, name: str) -> str:
        """Return the libvirt name of a host's domain or of a network: ``<lab>-<name>``."""
        return f"{self.name}-{name}"

    def members(self, network: str) -> tuple[tuple[Host, Interface], ...]:
        """Return every host on a network with its NIC there, in file order."""
        found = ((host, host.interface_on(network)) for host in self.hosts.values())
        return tuple((host, nic) for host, nic in found if nic is not None)
