"""What another tool's file says of a lab, in labrun's terms and before anything is derived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Final, TypeAlias

from labrun.errors import UsageError
from labrun.inventory.file.problems import quoted
from labrun.inventory.starting.names import label, unique

__all__ = [
    "Address",
    "Draft",
    "DraftHost",
    "DraftNetwork",
    "DraftNic",
    "Interface",
    "LeftOut",
    "Subnet",
    "misread",
]

Interface: TypeAlias = IPv4Interface | IPv6Interface
Address: TypeAlias = IPv4Address | IPv6Address
Subnet: TypeAlias = IPv4Network | IPv6Network
MOST_HOSTS: Final = 500
MOST_NETWORKS: Final = 1000


@dataclass(slots=True)
class DraftNic:
    """A NIC: ``called`` is its name in the source. Without addresses and ``dhcp``, one is derived."""

    network: str
    called: str = ""
    addresses: list[Interface] = field(default_factory=list)
    dhcp: bool = False
    mac: str | None = None


@dataclass(slots=True)
class DraftHost:
    """A machine. ``router`` None = it is one if it is on several networks; ``note`` is for a comment.

    ``gateways`` are default routes, ``routes`` other ones, by the next hop's address. ``memory`` is in MiB.
    ``hostname`` is the machine's own name, where it is not that of the lab.
    """

    name: str
    note: str = ""
    router: bool | None = None
    nics: list[DraftNic] = field(default_factory=list)
    gateways: list[Address] = field(default_factory=list)
    routes: list[tuple[Subnet, Address]] = field(default_factory=list)
    sysctl: dict[str, str] = field(default_factory=dict)
    memory: int | None = None
    vcpus: int | None = None
    hostname: str | None = None

    def nic(self, called: str) -> DraftNic | None:
        """Return the NIC that the source calls so, None if there is none."""
        return next((nic for nic in self.nics if nic.called == called), None)


@dataclass(slots=True)
class DraftNetwork:
    """A network; ``is_link`` = it connects two ends and nothing else. Without subnets they are derived.

    ``hypervisor`` is the hypervisor's address by IP version, where it is not the first one, or `none`.
    """

    name: str
    note: str = ""
    mode: str | None = None
    subnets: list[Subnet] = field(default_factory=list)
    is_link: bool = False
    mtu: int | None = None
    dhcp: bool | None = None
    hypervisor: dict[int, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of the source that the lab file does not have: its line (0 = none), what, and why."""

    line: int
    what: str
    why: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.what}: {self.why}"


@dataclass(slots=True)
class Draft:
    """A lab as another tool describes it; ``kind`` names its format, for people.

    ``hosts`` and ``networks`` are by the name in the source.
    """

    source: str
    kind: str
    name: str = ""
    hosts: dict[str, DraftHost] = field(default_factory=dict)
    networks: dict[str, DraftNetwork] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, what: str, why: str, line: int = 0) -> None:
        """Note something that is not taken over; the same thing counts once."""
        entry = LeftOut(line, what, why)
        if entry not in self.left_out:
            self.left_out.append(entry)

    def add_host(self, called: str, note: str = "") -> DraftHost:
        """Add a host, or return the one that is there. Raises UsageError beyond 500 hosts."""
        if called not in self.hosts:
            if len(self.hosts) >= MOST_HOSTS:
                raise misread(self.source, f"more than {MOST_HOSTS} machines")
            name = unique(label(called, "host"), {host.name for host in self.hosts.values()})
            if name != called and not note:
                note = called
            self.hosts[called] = DraftHost(name, note)
        return self.hosts[called]

    def add_network(self, called: str, note: str = "", *, is_link: bool = False) -> DraftNetwork:
        """Add a network, or return the one that is there. Raises UsageError beyond 1000 networks."""
        if called not in self.networks:
            if len(self.networks) >= MOST_NETWORKS:
                raise misread(self.source, f"more than {MOST_NETWORKS} networks")
            name = unique(label(called, "net"), {network.name for network in self.networks.values()})
            self.networks[called] = DraftNetwork(name, note, is_link=is_link)
        return self.networks[called]

    def nics_on(self, network: str) -> Iterable[tuple[DraftHost, DraftNic]]:
        """Yield the NICs on a network of the draft, with their hosts, in the order of the source."""
        for host in self.hosts.values():
            for nic in host.nics:
                if nic.network == network:
                    yield host, nic


def misread(source: str, what: str, line: int = 0, hint: str | None = None) -> UsageError:
    """Return the error for a source that cannot be read: ``FILE:LINE: what``."""
    where = f"{source}:{line}" if line else source
    return UsageError(f"{where}: {what}", hint=hint)


def short(value: object) -> str:
    """Return a value of the source for a message: quoted, shortened, without control characters."""
    return quoted(value if isinstance(value, int | str) else str(value))
