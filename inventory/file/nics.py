"""Give every NIC its MAC and addresses: check declared ones and derive the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface
from types import MappingProxyType

from labrun.inventory.file.address_parsing import DHCP
from labrun.inventory.file.addressing import derived_macs, leased_addresses
from labrun.inventory.file.merging import Merged
from labrun.inventory.file.network_models import NicModel
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.file.validate import Dropped
from labrun.inventory.model import Address, Interface, Mode, Network, Prefix

__all__ = ["Nics", "build_nics"]


@dataclass(slots=True)
class Nics:
    """Every host's NICs in file order; ``doubtful`` hosts lost a NIC to an error."""

    by_host: dict[str, tuple[Interface, ...]] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)


class _Claims:
    """Addresses and MACs assigned in the file, each with the first place that claims it."""

    def __init__(self, report: Report):
        self._report = report
        self.macs: dict[str, Path] = {}
        self.addresses: dict[Address, Path] = {}

    def mac(self, path: Path, mac: str) -> None:
        first = self.macs.setdefault(mac, path)
        self._only(path, f"the MAC address {mac}", first)

    def address(self, path: Path, address: Address) -> bool:
        first = self.addresses.setdefault(address, path)
        return self._only(path, str(address), first)

    def _only(self, path: Path, what: str, first: Path) -> bool:
        if first != path:
            where = f"{first[1]} has it in line {self._report.line_of(first)}"
            self._report.add(path, f"{what} is used twice", where)
        return first == path


def build_nics(
    lab: str, hosts: Mapping[str, Merged], networks: Mapping[str, Network], cut: Dropped, report: Report
) -> Nics:
    """Return the NICs of every host; report each wrong address, MAC or network."""
    nics, claims = Nics(), _Claims(report)
    declared: dict[tuple[str, str], Interface] = {}
    for host in hosts.values():
        for network, model in (host.model.networks or {}).items():
            path: Path = ("hosts", host.name, "networks", network)
            if network in networks:
                nic = _declared(path, model, networks[network], nics, claims, report)
                if nic.dhcp and host.model.address is None:
                    _dhcp_possible(_at(path, "ipv4", report), networks[network], nics, report)
                elif nic.dhcp:
                    nic = _answering(nic, networks[network], host, claims)
                declared[host.name, network] = nic
            else:
                nics.doubtful.add(host.name)
                if not cut.has("networks", network):
                    report.unknown(path, "network", network, networks)
        if not host.model.networks and host.model.address is None:
            report.add(("hosts", host.name), "a host needs a network", "such as networks: {NETWORK: dhcp}")
    # An existing machine keeps its MACs and gets no reservation.
    made = {key: nic for key, nic in declared.items() if hosts[key[0]].model.address is None}
    macs = derived_macs(lab, [key for key, nic in made.items() if not nic.mac], claims.macs)
    leases = _leases(lab, made, networks, claims, report)
    for name in hosts:
        nics.by_host[name] = ()
    for key, nic in declared.items():
        address = leases.get(key)
        nic = replace(nic, mac=nic.mac or macs.get(key, ""), ipv4=address or nic.ipv4)
        nics.by_host[key[0]] = (*nics.by_host[key[0]], nic)
    return nics


def _declared(
    path: Path, model: NicModel, network: Network, nics: Nics, claims: _Claims, report: Report
) -> Interface:
    """Return the NIC as declared: a derived MAC is still empty, a derived address None."""
    host = str(path[1])
    if model.mac is not None:
        claims.mac((*path, "mac"), model.mac)
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    if model.ipv4 is not None and model.ipv4 != DHCP:
        found = _fixed(
            _at(path, "ipv4", report), model.ipv4, network, network.cidr, network.hypervisor4, claims, report
        )
        ipv4 = found if isinstance(found, IPv4Interface) else None
    if model.ipv6 is not None:
        found = _fixed(
            _at(path, "ipv6", report), model.ipv6, network, network.cidr6, network.hypervisor6, claims, report
        )
        ipv6 = found if isinstance(found, IPv6Interface) else None
    if (ipv4 is None and model.ipv4 not in (None, DHCP)) or (ipv6 is None and model.ipv6 is not None):
        nics.doubtful.add(host)
    return Interface(
        network=network.name,
        mac=model.mac or "",
        ipv4=ipv4,
        ipv6=ipv6,
        dhcp=model.ipv4 == DHCP,
        filter=model.filter,
        nmcli=MappingProxyType(dict(model.nmcli or {})),
        spoofing=model.spoofing or "deny",
    )


def _answering(nic: Interface, network: Network, host: Merged, claims: _Claims) -> Interface:
    """Return a ``dhcp`` NIC of an existing machine, with its ``address:`` if that is on this network."""
    try:
        address = IPv4Address(host.model.address or "")
    except ValueError:
        return nic
    if network.cidr is None or address not in network.cidr:
        return nic
    claims.address(("hosts", host.name, "address"), address)
    return replace(nic, ipv4=IPv4Interface((address, network.cidr.prefixlen)))


def _at(path: Path, key: str, report: Report) -> Path:
    """Return the path of an address: below its key, or the NIC's whole value."""
    return (*path, key) if report.is_in_file((*path, key)) else path


def _dhcp_possible(path: Path, network: Network, nics: Nics, report: Report) -> None:
    if network.dhcp is not None:
        return
    mode = network.mode
    if mode in (Mode.BRIDGE, Mode.MACVTAP):
        return  # the server of the outer network answers there
    reason = "its DHCP is off" if mode.has_hypervisor_address else f"mode {mode} has none"
    if mode.has_hypervisor_address and network.cidr is None:
        if report.is_in_file(("networks", network.name, "cidr")):
            nics.doubtful.add(str(path[1]))
            return  # what is wrong with it has been reported there
        reason = "it has no cidr"
    report.add(path, f"the network {network.name} serves no DHCP: {reason}", "give the NIC an address")


def _fixed(
    path: Path,
    written: Address | IPv4Interface | IPv6Interface,
    network: Network,
    subnet: Prefix | None,
    hypervisor: IPv4Interface | IPv6Interface | None,
    claims: _Claims,
    report: Report,
) -> IPv4Interface | IPv6Interface | None:
    """Return a declared address with its network's prefix length, None if it is wrong."""
    length = written.network.prefixlen if isinstance(written, (IPv4Interface, IPv6Interface)) else None
    address: Address = written.ip if isinstance(written, (IPv4Interface, IPv6Interface)) else written
    key = "cidr" if address.version == 4 else "cidr6"
    if subnet is None:
        if report.is_in_file(("networks", network.name, key)):
            return None  # what is wrong with it has been reported there
        declared = report.line_of(("networks", network.name))
        report.add(path, f"the network {network.name} has no {key}", f"add one in line {declared}")
    elif address not in subnet:
        report.add(path, f"{address} is outside the network {network.name}, which is {subnet}")
    elif address == subnet.network_address:
        report.add(path, f"{address} is the address of the subnet {subnet} itself")
    elif isinstance(subnet, IPv4Network) and address == subnet.broadcast_address:
        report.add(path, f"{address} is the broadcast address of {subnet}")
    elif hypervisor is not None and address == hypervisor.ip:
        report.add(path, f"{address} is the hypervisor's address on the network {network.name}")
    elif length not in (None, subnet.prefixlen):
        report.add(
            path, f"the network {network.name} has /{subnet.prefixlen}, not /{length}", "leave the length out"
        )
    elif claims.address(path, address):
        if isinstance(address, IPv4Address):
            return IPv4Interface((address, subnet.prefixlen))
        return IPv6Interface((address, subnet.prefixlen))
    return None


def _leases(
    lab: str,
    nics: Mapping[tuple[str, str], Interface],
    networks: Mapping[str, Network],
    claims: _Claims,
    report: Report,
) -> dict[tuple[str, str], IPv4Interface]:
    waiting: dict[str, list[str]] = {}
    for (owner, on), nic in nics.items():
        if nic.dhcp:
            waiting.setdefault(on, []).append(owner)
    leases: dict[tuple[str, str], IPv4Interface] = {}
    taken = sorted(address for address in claims.addresses if isinstance(address, IPv4Address))
    for name, hosts in waiting.items():
        network = networks[name]
        if network.dhcp is None or network.cidr is None:
            continue
        span = network.dhcp
        inside = [address for address in taken if span.first <= address <= span.last]
        found = leased_addresses(lab, name, hosts, span, inside)
        for host in hosts:
            if host in found:
                leases[host, name] = IPv4Interface((found[host], network.cidr.prefixlen))
            else:
                what = f"no address is left in the DHCP range {span.first}-{span.last} of {name}"
                report.add(("hosts", host, "networks", name), what, "make the range larger")
    return leases
