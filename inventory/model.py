"""The frozen model of lab.yaml, with every derived value (addresses, MACs, DHCP ranges) filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from labrun.inventory.check_model import Check
from labrun.inventory.hypervisor_model import Hypervisor
from labrun.inventory.network_model import Address, DhcpRange, Interface, Mode, Network, Prefix, Vlan
from labrun.inventory.route_patterns import RoutePattern
from labrun.inventory.traffic import Filter, Firewall, Nat

__all__ = [
    "DEFAULT_USER",
    "Address",
    "DhcpRange",
    "Disk",
    "FileSpec",
    "Gateway",
    "Host",
    "Hypervisor",
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
    "Vlan",
]

DEFAULT_USER = "lab"
"""The login user of a machine for which the lab file names none."""


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


class Role(StrEnum):
    """A router forwards between its networks; a host does not."""

    HOST = "host"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class Disk:
    """An additional disk of a machine; ``size`` in GiB."""

    size: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that labrun creates: ``memory`` in MiB, ``disk`` in GiB, ``driver`` None = the lab's.

    ``vcpus`` None = one for a VM, and all that there are for a container.
    """

    image: str
    memory: int
    vcpus: int | None
    disk: int
    disks: tuple[Disk, ...] = ()
    firmware: Literal["bios", "uefi"] = "bios"
    autostart: bool = False
    driver: Literal["lxc", "qemu"] | None = None


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How a machine is reached; None = the user's ssh defaults, or as the lab's other settings say.

    A machine that labrun makes has a ``port`` at most.
    """

    user: str | None = None
    port: int | None = None
    identity: str | None = None
    known_hosts: str | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """The value of ``gateway:``: kind ``auto``, ``none``, ``host`` (with ``host``) or ``address``.

    ``nic`` is the name of the NIC where a link-local address is, None for any other.
    """

    kind: Literal["auto", "none", "host", "address"] = "auto"
    host: str | None = None
    address: Address | None = None
    nic: str | None = None


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A declared route; ``via`` is resolved to an address on one of the host's networks.

    ``nic`` is the name of the NIC where a link-local address is, None for any other.
    """

    to: Prefix
    via: Address
    nic: str | None = None


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
    rollback. ``hypervisor`` is the name of the one where its machine is to be, None = any, or the only one.
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
    hypervisor: str | None = None

    def nic(self, name: str) -> Interface | None:
        """Return the NIC of that name, None if there is none."""
        return next((nic for nic in self.interfaces if nic.name == name), None)

    def nics_on(self, network: str) -> tuple[Interface, ...]:
        """Return the NICs on that network in file order; packets to its hosts leave by the first."""
        return tuple(nic for nic in self.interfaces if nic.network == network)


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
    """A key that is accepted and changes nothing; ``why`` tells why it has no effect where it stands.

    ``driver`` is not empty if that holds only where the lab's machines are made by it.
    """

    line: int
    path: str
    why: str
    driver: str = ""

    def __str__(self) -> str:
        return f"{self.path} has no effect: {self.why}"


@dataclass(frozen=True, slots=True)
class Lab:
    """A whole lab. Networks, hosts and NICs keep the file order.

    ``digest`` is the SHA-256 (hex) of the file's bytes; relative paths in the file start at ``directory``.
    ``hypervisors`` is empty unless the file names several; then ``hypervisor`` has no meaning.
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
    hypervisors: Mapping[str, Hypervisor] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def needs_hypervisor(self) -> bool:
        """Tell whether labrun creates any of the machines; if not, it does not need libvirt."""
        return any(host.address is None for host in self.hosts.values())

    def libvirt_name(self, name: str) -> str:
        """Return the libvirt name of a host's domain or of a network: ``<lab>-<name>``."""
        return f"{self.name}-{name}"

    def members(self, network: str) -> tuple[tuple[Host, Interface], ...]:
        """Return every NIC on a network with its host, in file order."""
        return tuple((host, nic) for host in self.hosts.values() for nic in host.nics_on(network))
