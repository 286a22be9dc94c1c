"""Which node is on which network with which address: one IP version of the lab, as routing sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, wraps
from types import MappingProxyType
from typing import Literal, TypeVar

from labrun.inventory.model import Address, Host, Interface, Lab, Network, Prefix, Role
from labrun.inventory.topology.eui64 import link_local

__all__ = ["HYPERVISOR_NODE", "Attachment", "L3Topology", "Version", "per_lab", "wiring"]

Version = Literal[4, 6]
T = TypeVar("T")
_VERSIONS: tuple[Version, ...] = (4, 6)

HYPERVISOR_NODE = "hypervisor"
"""The hypervisor's node name where it forwards; no lab host can have this name."""


@dataclass(frozen=True, slots=True)
class _Identity:
    """A lab as a cache key, compared by identity rather than equality, since labs are not hashable."""

    lab: Lab

    def __hash__(self) -> int:
        return id(self.lab)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.lab is self.lab


def per_lab(compute: Callable[[Lab, Version], T]) -> Callable[[Lab, Version], T]:
    """Cache the results of ``compute`` for the last few labs, by identity."""

    @lru_cache(maxsize=8)
    def remembered(key: _Identity, version: Version) -> T:
        return compute(key.lab, version)

    @wraps(compute)
    def lookup(lab: Lab, version: Version) -> T:
        return remembered(_Identity(lab), version)

    return lookup


@dataclass(frozen=True, slots=True)
class Attachment:
    """A host's NIC with an address of this version; ``nic`` holds its other settings."""

    host: str
    network: str
    address: Address
    prefix: Prefix
    nic: Interface

    @property
    def name(self) -> str:
        """Return the NIC's name."""
        return self.nic.name


@dataclass(frozen=True, slots=True, eq=False)
class L3Topology:
    """Attachments of one IP version; every sequence keeps the file order.

    ``of`` is keyed by host, ``on`` by network; ``routers_on`` holds only the routers there. ``holder``
    gives the node with an address on a network (the hypervisor included), ``nic_with`` the name of the
    host's NIC that has it, ``owner`` the host with this address anywhere. ``hypervisor`` gives its
    addresses by network, ``routers`` each router's position in the file.
    """

    lab: Lab
    version: Version
    of: Mapping[str, tuple[Attachment, ...]]
    on: Mapping[str, tuple[Attachment, ...]]
    routers_on: Mapping[str, tuple[Attachment, ...]]
    holder: Mapping[tuple[str, Address], str]
    nic_with: Mapping[tuple[str, Address], str]
    owner: Mapping[Address, str]
    hypervisor: Mapping[str, Address]
    routers: Mapping[str, int]

    def shared(self, host: str, other: str) -> Attachment | None:
        """Return the other host's NIC on the first network, in the host's order, that both are on."""
        # Of several addresses on one network, the first is the one that packets leave with.
        theirs = {there.network: there for there in reversed(self.of[other])}
        return next((theirs[own.network] for own in self.of[host] if own.network in theirs), None)

    def on_link(self, host: str, address: Address, nic: str | None = None) -> Attachment | None:
        """Return the host's NIC whose subnet contains the address; a link-local one is at ``nic``."""
        if nic is not None:
            return next((own for own in self.of[host] if own.name == nic), None)
        return next((own for own in self.of[host] if address in own.prefix), None)

    def apart(self, source: str, target: str) -> str | None:
        """Return why no packet can go from one host to the other: ``it has only IPv6 …``, of the target.

        None if they share an IP version, or if the file knows no address of one of them.
        """
        theirs, ours = (
            [version for version in _VERSIONS if wiring(self.lab, version).of[name]]
            for name in (target, source)
        )
        if len(theirs) != 1 or len(ours) != 1 or theirs == ours:
            return None
        return f"it has only IPv{theirs[0]} in the lab file, and {source} only IPv{ours[0]}"

    def prefix_of(self, network: str) -> Prefix | None:
        """Return the subnet of a network in this version, None if it has none."""
        return _subnet(self.lab.networks[network], self.version)


def _subnet(network: Network, version: Version) -> Prefix | None:
    return network.cidr if version == 4 else network.cidr6


def _attachments(host: Host, version: Version) -> Iterator[Attachment]:
    for nic in host.interfaces:
        for given in nic.of(version):
            yield Attachment(host.name, nic.network, given.ip, given.network, nic)


@per_lab
def wiring(lab: Lab, version: Version) -> L3Topology:
    """Return which node is on which network in IPv4 or IPv6; cached per lab."""
    of = {name: tuple(_attachments(host, version)) for name, host in lab.hosts.items()}
    on: dict[str, list[Attachment]] = {name: [] for name in lab.networks}
    holder: dict[tuple[str, Address], str] = {}
    nic_with: dict[tuple[str, Address], str] = {}
    owner: dict[Address, str] = {}
    hypervisor: dict[str, Address] = {}
    routers = {host.name: place for place, host in enumerate(lab.hosts.values()) if host.role is Role.ROUTER}
    for name, network in lab.networks.items():
        own = network.hypervisor4 if version == 4 else network.hypervisor6
        if own is not None:
            hypervisor[name] = own.ip
            holder[name, own.ip] = HYPERVISOR_NODE
    if version == 6:
        for host in lab.hosts.values():
            for nic in host.interfaces:
                if nic.mac:
                    holder[nic.network, link_local(nic.mac)] = host.name
                    nic_with[nic.network, link_local(nic.mac)] = nic.name
    for attachments in of.values():
        for there in attachments:
            on[there.network].append(there)
            holder[there.network, there.address] = there.host
            nic_with[there.network, there.address] = there.name
            owner[there.address] = there.host
    return L3Topology(
        lab=lab,
        version=version,
        of=MappingProxyType(of),
        on=MappingProxyType({name: tuple(members) for name, members in on.items()}),
        routers_on=MappingProxyType(
            {name: tuple(there for there in members if there.host in routers) for name, members in on.items()}
        ),
        holder=MappingProxyType(holder),
        nic_with=MappingProxyType(nic_with),
        owner=MappingProxyType(owner),
        hypervisor=MappingProxyType(hypervisor),
        routers=MappingProxyType(routers),
    )
