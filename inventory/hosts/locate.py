"""Where do the lab's hosts answer now? The file's fixed addresses, then leases by MAC, then guest agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from types import MappingProxyType
from typing import Literal

from labrun.inventory.model import Address, Host, Interface, Lab, Mode, Network
from labrun.ports import Lease, LeaseSource

__all__ = ["Found", "Located", "Source", "beside", "file_addresses", "locate", "still_held"]

Source = Literal["file", "lease", "agent"]
_RELIABILITY: tuple[Source, ...] = ("lease", "agent")


@dataclass(frozen=True, slots=True)
class Found:
    """The address that a host has on one network, and who says so."""

    network: str
    address: Address
    source: Source


@dataclass(frozen=True, slots=True)
class Located:
    """Where one host answers.

    ``address`` is the one labrun talks to: an IP address, or what ``address:`` says of an existing
    machine; None with the ``reason``. ``found`` has what is known on each network, in the order of
    the file, and ``missing`` why nothing is known on the others.
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
        """Return the address on each network where one is known."""
        return {each.network: each.address for each in self.found}


def locate(lab: Lab, source: LeaseSource | None) -> Mapping[str, Located]:
    """Return where every host answers, in the order of the file.

    ``source`` tells what guests hold now; it is asked once, and only where the file cannot know.
    Without one, the address that is reserved for a ``dhcp`` NIC is taken as the file's word.
    """
    leases: dict[str, list[Lease]] = {}
    asked = _to_be_asked(lab) if source is not None else ()
    if source is not None and asked:
        for lease in source.leases([lab.libvirt_name(name) for name in asked]):
            leases.setdefault(lease.mac.lower(), []).append(lease)
    return {name: _located(lab, host, leases, source is not None) for name, host in lab.hosts.items()}


def beside(
    lab: Lab, located: Mapping[str, Located], had: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, list[str]]]:
    """Return where else each host may be, as it stands in its Nornir data.

    ``labrun_expected`` is what the file alone gives it, ``labrun_former`` what it ``had`` and has no
    more by the file.
    """
    expected = locate(lab, None)
    found = {}
    for name, host in lab.hosts.items():
        present = {located[name].address, *file_addresses(host)}
        reserved = expected[name].address
        found[name] = {
            "labrun_expected": [reserved] if reserved is not None else [],
            "labrun_former": [each for each in had.get(name, ()) if each not in present],
        }
    return found


def file_addresses(host: Host) -> list[str]:
    """Return every address that the file gives a host, IPv4 first."""
    nics = host.interfaces
    return [str(nic.ipv4.ip) for nic in nics if nic.ipv4 is not None] + [
        str(nic.ipv6.ip) for nic in nics if nic.ipv6 is not None
    ]


def still_held(lab: Lab, had: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the hosts that have not left an address yet which the file gives to another: host by address.

    ``had`` are the addresses that were recorded of each host, the latest first.
    """
    given = {address for host in lab.hosts.values() for address in file_addresses(host)}
    held: dict[str, str] = {}
    for name, host in lab.hosts.items():
        own = file_addresses(host)
        latest = had.get(name, ())[: len(own)]
        held |= {address: name for address in latest if address in given and address not in own}
    return held


def _to_be_asked(lab: Lab) -> tuple[str, ...]:
    """Return the networks on which an address may be known to a DHCP server or a guest only."""
    nics = [nic for host in lab.hosts.values() if host.machine is not None for nic in host.interfaces]
    return tuple(dict.fromkeys(nic.network for nic in nics if _fixed(nic) is None))


def _fixed(nic: Interface) -> IPv4Interface | IPv6Interface | None:
    if nic.dhcp:
        return nic.ipv6
    return nic.ipv4 or nic.ipv6


def _located(lab: Lab, host: Host, leases: Mapping[str, list[Lease]], asked: bool) -> Located:
    found: list[Found] = []
    missing: dict[str, str] = {}
    for nic in host.interfaces:
        here = _on_network(
            lab.networks[nic.network], nic, leases.get(nic.mac, ()), asked and host.address is None
        )
        if isinstance(here, Found):
            found.append(here)
        else:
            missing[nic.network] = here
    if host.address is not None:
        return Located(host.name, host.address, "file", None, None, tuple(found), missing)
    best = min(found, key=lambda each: _distance(lab.networks[each.network]), default=None)
    if best is None or _distance(lab.networks[best.network]) == _OUT_OF_REACH:
        reason = _no_way(best, missing)
        return Located(host.name, None, None, None, reason, tuple(found), missing)
    return Located(host.name, str(best.address), best.source, best.network, None, tuple(found), missing)


def _on_network(network: Network, nic: Interface, leases: Iterable[Lease], asked: bool) -> Found | str:
    """Return the address on one network, or why none is known."""
    if not nic.dhcp and (nic.ipv4 or nic.ipv6):
        fixed = nic.ipv4 or nic.ipv6
        assert fixed is not None
        return Found(network.name, fixed.ip, "file")
    for source in _RELIABILITY:
        for lease in leases:
            if lease.source == source and _belongs(lease.address, network):
                return Found(network.name, lease.address, source)
    if not asked and nic.ipv4 is not None:
        return Found(network.name, nic.ipv4.ip, "file")
    if nic.ipv6 is not None:
        return Found(network.name, nic.ipv6.ip, "file")
    return f"no lease on {network.name}" if asked else f"{network.name} gives addresses by DHCP"


def _belongs(address: Address, network: Network) -> bool:
    if address.is_link_local or address.is_loopback or address.is_multicast:
        return False
    if network.cidr is None and network.cidr6 is None:
        return True  # somebody else's network: whatever the guest got there
    return any(address in cidr for cidr in (network.cidr, network.cidr6) if cidr is not None)


_OUT_OF_REACH = 2


def _distance(network: Network) -> int:
    """Return 0 where the hypervisor is on the network, 1 where the way leads outside, else 2."""
    if network.mode.has_hypervisor_address:
        return 0
    return _OUT_OF_REACH if network.mode is Mode.VERY_ISOLATED else 1


def _no_way(best: Found | None, missing: Mapping[str, str]) -> str:
    if best is not None:
        return f"only on {best.network}, where the hypervisor has no address"
    return ", ".join(missing.values()) or "it is on no network"
