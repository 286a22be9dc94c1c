"""Locate the lab's hosts: the file's fixed addresses, then leases by MAC, then guest agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from types import MappingProxyType
from typing import Literal, TypedDict

from labrun.inventory.model import Address, Host, Interface, Lab, Mode, Network
from labrun.ports import Lease, LeaseSource

__all__ = [
    "Found",
    "Located",
    "OtherAddresses",
    "Source",
    "file_addresses",
    "locate",
    "other_addresses",
    "still_held",
]

Source = Literal["file", "lease", "agent"]
_RELIABILITY: tuple[Source, ...] = ("lease", "agent")


@dataclass(frozen=True, slots=True)
class Found:
    """The address of a host on one network, and its source."""

    network: str
    address: Address
    source: Source


@dataclass(frozen=True, slots=True)
class Located:
    """The current addresses of one host.

    ``address`` is the one labrun uses: an IP address, or an existing machine's ``address:``; None with the
    ``reason``. ``found`` holds the known address on each network in file order, ``missing`` the reason for
    each network without one.
    """

    host: str
    address: str | None = None
    source: Source | None = None
    network: str | None = None
    reason: str | None = None
    found: tuple[Found, ...] = ()
    missing: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def addresses(self) -> Mapping[str, Address]:
        """Return the address on each network that has a known one."""
        return {held.network: held.address for held in self.found}


def locate(lab: Lab, source: LeaseSource | None) -> Mapping[str, Located]:
    """Return the current address of every host, in file order.

    ``source`` reports the leases that guests hold now; it is queried once, and only if the file does not
    determine the address. Without a source, a ``dhcp`` NIC is assumed to hold its reserved address.
    """
    leases: dict[str, list[Lease]] = {}
    networks = _to_be_asked(lab) if source is not None else ()
    if source is not None and networks:
        for lease in source.leases([lab.libvirt_name(name) for name in networks]):
            leases.setdefault(lease.mac.lower(), []).append(lease)
    return {name: _located(lab, host, leases, source is not None) for name, host in lab.hosts.items()}


class OtherAddresses(TypedDict):
    """Where a host may answer besides its current address, as stored in its Nornir data."""

    labrun_expected: list[str]
    labrun_former: list[str]


def other_addresses(
    lab: Lab, located: Mapping[str, Located], had: Mapping[str, Iterable[str]]
) -> dict[str, OtherAddresses]:
    """Return each host's alternative addresses.

    ``labrun_expected`` are the addresses from the file alone, ``labrun_former`` those that it ``had`` and
    that the file no longer gives it.
    """
    expected = locate(lab, None)
    others: dict[str, OtherAddresses] = {}
    for name, host in lab.hosts.items():
        present = {located[name].address, *file_addresses(host)}
        reserved = expected[name].address
        others[name] = {
            "labrun_expected": [reserved] if reserved is not None else [],
            "labrun_former": [address for address in had.get(name, ()) if address not in present],
        }
    return others


def file_addresses(host: Host) -> list[str]:
    """Return every address that the file gives a host, IPv4 first."""
    nics = host.interfaces
    return [str(nic.ipv4.ip) for nic in nics if nic.ipv4 is not None] + [
        str(nic.ipv6.ip) for nic in nics if nic.ipv6 is not None
    ]


def still_held(lab: Lab, had: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the host that still holds an address which the file now gives to another, by address.

    ``had`` are the recorded addresses of each host, the latest first.
    """
    given = {address for host in lab.hosts.values() for address in file_addresses(host)}
    held: dict[str, str] = {}
    for name, host in lab.hosts.items():
        addresses = file_addresses(host)
        latest = had.get(name, ())[: len(addresses)]
        held |= {address: name for address in latest if address in given and address not in addresses}
    return held


def _to_be_asked(lab: Lab) -> tuple[str, ...]:
    """Return the networks on which only a DHCP server or a guest may know an address."""
    nics = [nic for host in lab.hosts.values() if host.machine is not None for nic in host.interfaces]
    return tuple(dict.fromkeys(nic.network for nic in nics if _fixed(nic) is None))


def _fixed(nic: Interface) -> IPv4Interface | IPv6Interface | None:
    if nic.dhcp:
        return nic.ipv6
    return nic.ipv4 or nic.ipv6


def _located(lab: Lab, host: Host, leases: Mapping[str, list[Lease]], has_leases: bool) -> Located:
    held: list[Found] = []
    missing: dict[str, str] = {}
    for nic in host.interfaces:
        on_network = _on_network(
            lab.networks[nic.network], nic, leases.get(nic.mac, ()), has_leases and host.address is None
        )
        if isinstance(on_network, Found):
            held.append(on_network)
        else:
            missing[nic.network] = on_network
    if host.address is not None:
        return Located(host.name, host.address, "file", None, None, tuple(held), missing)
    best = min(held, key=lambda address: _distance(lab.networks[address.network]), default=None)
    if best is None or _distance(lab.networks[best.network]) == _OUT_OF_REACH:
        reason = _no_way(best, missing)
        return Located(host.name, None, None, None, reason, tuple(held), missing)
    return Located(host.name, str(best.address), best.source, best.network, None, tuple(held), missing)


def _on_network(network: Network, nic: Interface, leases: Iterable[Lease], has_leases: bool) -> Found | str:
    """Return the address on one network, or the reason why it is not known."""
    if not nic.dhcp and (nic.ipv4 or nic.ipv6):
        fixed = nic.ipv4 or nic.ipv6
        assert fixed is not None
        return Found(network.name, fixed.ip, "file")
    for source in _RELIABILITY:
        for lease in leases:
            if lease.source == source and _belongs(lease.address, network):
                return Found(network.name, lease.address, source)
    if not has_leases and nic.ipv4 is not None:
        return Found(network.name, nic.ipv4.ip, "file")
    if nic.ipv6 is not None:
        return Found(network.name, nic.ipv6.ip, "file")
    return f"no lease on {network.name}" if has_leases else f"{network.name} gives addresses by DHCP"


def _belongs(address: Address, network: Network) -> bool:
    if address.is_link_local or address.is_loopback or address.is_multicast:
        return False
    if network.cidr is None and network.cidr6 is None:
        return True  # an external network: accept any address that the guest got there
    return any(address in cidr for cidr in (network.cidr, network.cidr6) if cidr is not None)


_OUT_OF_REACH = 2


def _distance(network: Network) -> int:
    """Return 0 if the hypervisor is on the network, 1 if it is reached through the outside, else 2."""
    if network.mode.has_hypervisor_address:
        return 0
    return _OUT_OF_REACH if network.mode is Mode.VERY_ISOLATED else 1


def _no_way(best: Found | None, missing: Mapping[str, str]) -> str:
    if best is not None:
        return f"only on {best.network}, where the hypervisor has no address"
    return ", ".join(missing.values()) or "it is on no network"
