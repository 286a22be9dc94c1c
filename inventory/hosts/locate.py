"""Locate the lab's hosts: the file's fixed addresses, then leases by MAC, then guest agents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypedDict

from labrun.inventory.hosts.hypervisor_login import HypervisorLogin, hypervisor_login
from labrun.inventory.model import Address, Host, Interface, Lab, Network
from labrun.inventory.topology.jump_hosts import Jump, entrance, jump_chain, jumps, no_login
from labrun.inventory.topology.way_in import ALONGSIDE, NO_WAY, distance, way_in
from labrun.outcome import HYPERVISOR
from labrun.ports import Lease, LeaseSource

__all__ = [
    "Found",
    "Located",
    "OtherAddresses",
    "Source",
    "entry_network",
    "file_addresses",
    "first_hop",
    "locate",
    "no_logins",
    "other_addresses",
    "still_held",
]

Source = Literal["file", "lease", "agent"]
_RELIABILITY: tuple[Source, ...] = ("lease", "agent")


@dataclass(frozen=True, slots=True)
class Found:
    """The address of one of a host's NICs, and its source; ``nic`` is the NIC's name."""

    network: str
    address: Address
    source: Source
    nic: str = ""

    def __post_init__(self) -> None:
        if not self.nic:
            object.__setattr__(self, "nic", self.network)


@dataclass(frozen=True, slots=True)
class Located:
    """The current addresses of one host.

    ``address`` is the one labrun uses: an IP address, or an existing machine's ``address:``; None with the
    ``reason``; ``nic`` is the NIC that has it. ``found`` holds the known address of each NIC in file order,
    ``missing`` the reason for each NIC without one. ``also`` are further ones: of the other IP version, or
    of a NIC with several. ``through`` are the jump hosts on the way to ``address``, the first one that is
    dialled first; before them all comes the login to a remote ``hypervisor``, None if none is needed.
    """

    host: str
    address: str | None = None
    source: Source | None = None
    network: str | None = None
    reason: str | None = None
    found: tuple[Found, ...] = ()
    missing: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    also: tuple[Found, ...] = ()
    through: tuple[str, ...] = ()
    hypervisor: HypervisorLogin | None = None
    nic: str | None = None

    def __post_init__(self) -> None:
        if self.nic is None:
            object.__setattr__(self, "nic", self.network)

    @property
    def hops(self) -> tuple[str, ...]:
        """Return the names of all that a login goes through, the hypervisor as ``hypervisor``."""
        return (*((HYPERVISOR,) if self.hypervisor is not None else ()), *self.through)

    @property
    def addresses(self) -> Mapping[str, Address]:
        """Return the address of each NIC that has a known one."""
        return {held.nic: held.address for held in self.found}


def locate(lab: Lab, source: LeaseSource | None, uri: str = "") -> Mapping[str, Located]:
    """Return the current address of every host, in file order; ``uri`` is the lab's hypervisor.

    ``source`` reports the leases that guests hold now; it is queried once, and only if the file does not
    determine the address. Without a source, a ``dhcp`` NIC is assumed to hold its reserved address.
    """
    leases: dict[str, list[Lease]] = {}
    networks = _to_be_asked(lab) if source is not None else ()
    if source is not None and networks:
        for lease in source.leases([lab.libvirt_name(name) for name in networks]):
            leases.setdefault(lease.mac.lower(), []).append(lease)
    found = {name: _located(lab, host, leases, source is not None) for name, host in lab.hosts.items()}
    if hypervisor_login(uri) is None:
        return found
    return {name: replace(where, hypervisor=first_hop(lab, uri, name)) for name, where in found.items()}


def first_hop(lab: Lab, uri: str, name: str) -> HypervisorLogin | None:
    """Return the login to a remote hypervisor that leads to a host; None if the hypervisor is not on the way.

    It is for machines on a network that it is on itself, and those behind them. A bridge of the hypervisor
    leads into a network that other machines may be in as well.
    """
    login = hypervisor_login(uri)
    host = lab.hosts[(*jump_chain(lab, name), name)[0]]
    way = way_in(lab, host)
    if login is None or host.machine is None or way.network is None:
        return None
    network = lab.networks[way.network]
    return login if any(distance(network, version) == ALONGSIDE for version in way.versions) else None


def entry_network(lab: Lab, name: str) -> str | None:
    """Return the network through which a hypervisor reaches a host, or its first jump host; None if none."""
    return way_in(lab, lab.hosts[(*jump_chain(lab, name), name)[0]]).network


def no_logins(lab: Lab, located: Mapping[str, Located]) -> dict[str, str]:
    """Return why, by the lab file, machines that labrun creates cannot be logged in to, for each of these."""
    return {
        name: why
        for name, host in lab.hosts.items()
        if host.machine is not None and located[name].address is None and (why := no_login(lab, name))
    }


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
    return [str(each.ip) for version in (4, 6) for nic in host.interfaces for each in nic.of(version)]


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
    asked = (
        nic.network
        for host in lab.hosts.values()
        for nic in host.interfaces
        if host.machine is not None and not _is_known(lab.networks[nic.network], nic)
    )
    return tuple(dict.fromkeys(asked))


def _is_known(network: Network, nic: Interface) -> bool:
    """Tell whether the file alone says where the NIC answers.

    An address that it forms itself comes with the router's next advertisement, maybe later than a lease.
    """
    if nic.ipv6 is not None and not nic.ipv6_method and distance(network, 6) == ALONGSIDE:
        return True
    return not (nic.dhcp or nic.leases(6))


def _located(lab: Lab, host: Host, leases: Mapping[str, list[Lease]], has_leases: bool) -> Located:
    jump, through = jumps(lab).get(host.name), jump_chain(lab, host.name)
    held: list[Found] = []
    also: list[Found] = []
    missing: dict[str, str] = {}
    for nic in host.interfaces:
        network = lab.networks[nic.network]
        asked = has_leases and host.address is None
        found = list(_on_network(network, nic, leases.get(nic.mac, ()), asked))
        if found:
            # IPv4 comes first where both lead there.
            nearest = min(found, key=lambda each: _distance(lab, each, jump))
            held.append(nearest)
            also += [each for each in found if each is not nearest]
            also += [Found(network.name, each.ip, "file", nic.name) for each in nic.more]
        else:
            missing[nic.name] = _missing(nic, asked)
    if host.address is not None:
        why = entrance(lab, host).why or None
        address = host.address if why is None else None
        return Located(
            host.name,
            address,
            "file" if address else None,
            None,
            why,
            tuple(held),
            missing,
            tuple(also),
            through,
        )
    best = min(held, key=lambda found: _distance(lab, found, jump), default=None)
    if best is None or _distance(lab, best, jump) == NO_WAY:
        way = entrance(lab, host)
        reason = way.why or ", ".join(missing.values()) or "it is not on any network"
        return Located(host.name, None, None, None, reason, tuple(held), missing, tuple(also), through)
    return Located(
        host.name,
        str(best.address),
        best.source,
        best.network,
        None,
        tuple(held),
        missing,
        tuple(also),
        through,
        nic=best.nic,
    )


def _on_network(
    network: Network, nic: Interface, leases: Iterable[Lease], has_leases: bool
) -> Iterator[Found]:
    """Yield the NIC's address in each IP version in which it is known, IPv4 first."""
    for version, main in ((4, nic.ipv4), (6, nic.ipv6)):
        asks = nic.leases(version)
        given = _leased(network, nic, leases, version) if asks else None
        if given is not None:
            yield given
        elif main is not None and not (asks and has_leases):
            yield Found(network.name, main.ip, "file", nic.name)


def _leased(network: Network, nic: Interface, leases: Iterable[Lease], version: int) -> Found | None:
    of_version = [lease for lease in leases if lease.address.version == version]
    for source in _RELIABILITY:
        for lease in of_version:
            if lease.source == source and _belongs(lease.address, network):
                return Found(network.name, lease.address, source, nic.name)
    return None


def _missing(nic: Interface, has_leases: bool) -> str:
    if not (nic.has(4) or nic.has(6)):
        return f"no address on {nic.name}"
    return f"no lease on {nic.name}" if has_leases else f"{nic.network} gives addresses by DHCP"


def _belongs(address: Address, network: Network) -> bool:
    if address.is_link_local or address.is_loopback or address.is_multicast:
        return False
    if network.cidr is None and network.cidr6 is None:
        return True  # an external network: accept any address that the guest got there
    return any(address in cidr for cidr in (network.cidr, network.cidr6) if cidr is not None)


def _distance(lab: Lab, found: Found, jump: Jump | None) -> int:
    """Return how far the hypervisor is from an address; a jump host leads to one network only."""
    if jump is None:
        return distance(lab.networks[found.network], found.address.version)
    leads = found.network == jump.network and found.address.version in jump.versions
    return ALONGSIDE if leads else NO_WAY
