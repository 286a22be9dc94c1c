"""The contents of a lab drawing: networks, hosts and links with their labels and health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from labrun.inventory.model import Host, Interface, Lab, Mode, Network, Role

__all__ = ["Diagram", "DrawnHost", "DrawnNetwork", "Health", "Link", "diagram", "worst"]


class Health(StrEnum):
    """An element's result in the last verify, from best to worst; ``unknown`` means not checked."""

    UNKNOWN = "unknown"
    OK = "ok"
    IMPAIRED = "impaired"
    UNREACHABLE = "unreachable"
    FAILED = "failed"


_RANK = {health: place for place, health in enumerate(Health)}


def worst(*found: Health) -> Health:
    """Return the worst of these, ``unknown`` if there is none."""
    return max(found, key=lambda health: _RANK[health], default=Health.UNKNOWN)


@dataclass(frozen=True, slots=True)
class DrawnNetwork:
    """A network; ``facts`` are its subnets and the hypervisor's services on it, one short line each."""

    name: str
    mode: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DrawnHost:
    """A host; ``links`` are in file order."""

    name: str
    role: str
    health: Health
    links: tuple[Link, ...]

    @property
    def is_router(self) -> bool:
        """Tell whether the host forwards."""
        return self.role == Role.ROUTER


@dataclass(frozen=True, slots=True)
class Link:
    """A NIC, by its ``name``: ``addresses`` with prefix length, or a placeholder for one not known yet."""

    host: str
    network: str
    addresses: tuple[str, ...]
    health: Health
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.network)

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the addresses, below the NIC's name if that is not its network's."""
        return self.addresses if self.name == self.network else (self.name, *self.addresses)


@dataclass(frozen=True, slots=True)
class Diagram:
    """Everything to be drawn, in file order; ``verified`` tells when the colours were taken."""

    lab: str
    networks: tuple[DrawnNetwork, ...]
    hosts: tuple[DrawnHost, ...]
    verified: str | None = None
    health: Mapping[Health, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def links(self) -> tuple[Link, ...]:
        """Return every link, host by host."""
        return tuple(link for host in self.hosts for link in host.links)


def diagram(
    lab: Lab,
    *,
    hosts: Mapping[str, Health] | None = None,
    links: Mapping[tuple[str, str], Health] | None = None,
    verified: str | None = None,
) -> Diagram:
    """Return the contents of a lab drawing; ``links`` is keyed by host and NIC.

    Anything missing from ``hosts`` or ``links`` is drawn as unknown.
    """
    known, wires = hosts or {}, links or {}
    drawn = tuple(_host(host, known, wires) for host in lab.hosts.values())
    counts = {health: sum(host.health is health for host in drawn) for health in Health}
    return Diagram(
        lab.name,
        tuple(_network(network) for network in lab.networks.values()),
        drawn,
        verified,
        MappingProxyType({health: count for health, count in counts.items() if count}),
    )


def _network(network: Network) -> DrawnNetwork:
    subnets = [str(subnet) for subnet in (network.cidr, network.cidr6) if subnet is not None]
    own = [str(address.ip) for address in (network.hypervisor4, network.hypervisor6) if address is not None]
    beyond = {Mode.BRIDGE: f"bridge {network.bridge}", Mode.MACVTAP: f"on {network.dev}"}.get(network.mode)
    facts = [*subnets, *(f"hypervisor {address}" for address in own)]
    if network.mode.has_uplink:
        facts.append("leads outside")
    elif beyond:
        facts.append(beyond)
    return DrawnNetwork(network.name, network.kind, tuple(facts))


def _host(host: Host, known: Mapping[str, Health], wires: Mapping[tuple[str, str], Health]) -> DrawnHost:
    links = tuple(
        Link(
            host.name,
            nic.network,
            _addresses(nic),
            wires.get((host.name, nic.name), Health.UNKNOWN),
            nic.name,
        )
        for nic in host.interfaces
    )
    return DrawnHost(host.name, host.role.value, known.get(host.name, Health.UNKNOWN), links)


def _addresses(nic: Interface) -> tuple[str, ...]:
    found = tuple(map(str, nic.addresses))
    return found or ("dhcp" if nic.dhcp else nic.ipv6_method or "no address",)
