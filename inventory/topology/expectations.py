"""What the lab file implies: addresses, route tables and paths. Contacts no host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from types import MappingProxyType

from labrun.inventory.model import Interface, Lab
from labrun.inventory.topology.nm_properties import nic_properties
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.routing import Route, route_table
from labrun.inventory.topology.wiring import Version, per_lab, wiring

__all__ = ["Expectations", "addresses_of", "expectations"]

_VERSIONS: tuple[Version, ...] = (4, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Expectations:
    """Everything that must be observed on a healthy lab.

    ``addresses`` is keyed by host, then NIC; an empty tuple is a NIC whose address only an external
    DHCP server knows. Routes and paths are computed on demand.
    """

    lab: Lab
    addresses: Mapping[str, Mapping[str, tuple[IPv4Interface | IPv6Interface, ...]]]

    def routes(self, host: str) -> tuple[Route, ...]:
        """Return the route table of a host, IPv4 first. Raises KeyError for an unknown name."""
        return route_table(self.lab, host)

    def path(self, source: str, target: str, version: Version = 4) -> Path:
        """Return what a trace of ``target`` from ``source`` must show. Raises KeyError for unknown names."""
        return paths(self.lab, version).path(source, target)

    def versions(self, source: str, target: str) -> tuple[Version, ...]:
        """Return the IP versions that both hosts have an address in, (4,) if there is none."""
        both = tuple(
            v for v in _VERSIONS if wiring(self.lab, v).of[source] and wiring(self.lab, v).of[target]
        )
        return both or (4,)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield every ordered pair of different hosts, in file order."""
        for source in self.lab.hosts:
            for target in self.lab.hosts:
                if source != target:
                    yield source, target

    def paths(self) -> Iterator[Path]:
        """Yield the path of every ordered pair, once per IP version that both hosts have.

        A pair without a common IP version gets a single IPv4 path, which is a fault.
        """
        by_version = {version: paths(self.lab, version) for version in _VERSIONS}
        has6 = frozenset(name for name, own in wiring(self.lab, 6).of.items() if own)
        for source, target in self.pairs():
            if source in has6 and target in has6:
                for version in self.versions(source, target):
                    yield by_version[version].path(source, target)
            else:
                yield by_version[4].path(source, target)


def expectations(lab: Lab) -> Expectations:
    """Return what the lab implies; paths are computed on demand, everything once per lab."""
    return _expectations(lab, 4)


@per_lab
def _expectations(lab: Lab, _version: Version) -> Expectations:
    # The result covers both IP versions; `per_lab` only serves as the cache here.
    return Expectations(
        lab,
        MappingProxyType(
            {
                name: MappingProxyType({nic.name: addresses_of(nic) for nic in host.interfaces})
                for name, host in lab.hosts.items()
            }
        ),
    )


def _as_it_is(address: IPv4Interface | IPv6Interface) -> IPv4Interface | IPv6Interface:
    return address


def _alone(address: IPv4Interface | IPv6Interface) -> IPv4Interface | IPv6Interface:
    """Return an address as DHCPv6 gives it: without its subnet, which router advertisements tell."""
    return IPv6Interface(int(address.ip))


def addresses_of(nic: Interface) -> tuple[IPv4Interface | IPv6Interface, ...]:
    """Return the fixed and reserved addresses that a NIC must have, its ``nmcli:`` properties included."""
    found: list[IPv4Interface | IPv6Interface] = []
    for version in _VERSIONS:
        properties = nic_properties(nic, version)
        if properties.has_none:
            continue
        # Its reservation, beside any address that the properties add.
        leased = version == 4 and nic.dhcp and properties.method != "manual"
        written = properties.addresses is None and (version == 6 or not nic.dhcp)
        if leased or written:
            found += map(_alone if nic.ipv6_method == "dhcp" and version == 6 else _as_it_is, nic.of(version))
        found += properties.addresses or ()
    return tuple(dict.fromkeys(found))
