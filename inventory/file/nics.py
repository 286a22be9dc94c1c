"""Give every NIC its MAC and addresses: check declared ones and derive the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from types import MappingProxyType

from labrun.inventory.file.address_parsing import DHCP
from labrun.inventory.file.addressing import (
    derived_macs,
    leased_addresses,
    leased_addresses6,
    misfit,
    with_length,
)
from labrun.inventory.file.merging import Merged
from labrun.inventory.file.name_types import label_fault
from labrun.inventory.file.network_models import NicModel
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.file.validate import Dropped
from labrun.inventory.model import Address, Interface, Network, Prefix
from labrun.inventory.topology.eui64 import interface_in

__all__ = ["Nics", "build_nics"]

_Key = tuple[str, str]
"""A host and the name of one of its NICs."""


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
    declared: dict[_Key, Interface] = {}
    for host in hosts.values():
        for name, model in (host.model.networks or {}).items():
            path: Path = ("hosts", host.name, "networks", name)
            network = model.where(name)
            _check_name(path, model, networks, report)
            if network in networks:
                nic = _declared(path, model, networks[network], nics, claims, report)
                if nic.dhcp and host.model.address is None:
                    _dhcp_possible(_at(path, "ipv4", report), networks[network], nics, report)
                elif nic.dhcp:
                    beside = [model.where(name) for name, model in (host.model.networks or {}).items()]
                    if beside.count(network) == 1:
                        nic = _answering(nic, networks[network], host, claims)
                if nic.ipv6_method and host.model.address is None:
                    _ipv6_possible(_at(path, "ipv6", report), nic, networks[network], nics, report)
                declared[host.name, name] = nic
            else:
                nics.doubtful.add(host.name)
                if not cut.has("networks", network):
                    at: Path = (*path, "network") if model.network is not None else path
                    report.unknown(at, "network", network, networks)
        if not host.model.networks and host.model.address is None:
            report.add(("hosts", host.name), "a host needs a network", "such as networks: {NETWORK: dhcp}")
    # An existing machine keeps its MACs and gets no reservation.
    made = {key: nic for key, nic in declared.items() if hosts[key[0]].model.address is None}
    macs = derived_macs(lab, [key for key, nic in made.items() if not nic.mac], claims.macs)
    leases = _leases(lab, made, networks, claims, report)
    leases6 = _leases6(lab, made, networks, claims, report)
    for name in hosts:
        nics.by_host[name] = ()
    for key, nic in declared.items():
        address = leases.get(key)
        nic = replace(nic, mac=nic.mac or macs.get(key, ""), ipv4=address or nic.ipv4)
        nic = replace(nic, ipv6=leases6.get(key) or _made_of_mac(nic, networks[nic.network]) or nic.ipv6)
        nics.by_host[key[0]] = (*nics.by_host[key[0]], nic)
    return nics


def _check_name(path: Path, model: NicModel, networks: Mapping[str, Network], report: Report) -> None:
    """Report a NIC whose name would be taken for another network, or fits into no name of a profile."""
    name = str(path[3])
    if model.network in (None, name):
        return
    if name in networks:
        what = f"the NIC is called like the network {name}, and is on {model.network}"
        report.add((*path, "network"), what, f"give it another name, such as {model.network}-2")
    elif (fault := label_fault(name)) is not None:
        report.add(path, *fault)


def _declared(
    path: Path, model: NicModel, network: Network, nics: Nics, claims: _Claims, report: Report
) -> Interface:
    """Return the NIC as declared: a derived MAC is still empty, a derived address None."""
    host = str(path[1])
    if model.mac is not None:
        claims.mac((*path, "mac"), model.mac)
    fixed: list[IPv4Interface | IPv6Interface] = []
    for key, written in (("ipv4", model.ipv4), ("ipv6", model.ipv6)):
        subnet = network.cidr if key == "ipv4" else network.cidr6
        for number, each in enumerate(written or ()):
            if isinstance(each, str):
                continue
            at = _at(path, key, report)
            place = (*at, number) if report.is_in_file((*at, number)) else at
            found = _fixed(place, each, network, subnet, claims, report)
            if found is None:
                nics.doubtful.add(host)
            else:
                fixed.append(found)
    ipv4 = next((each for each in fixed if isinstance(each, IPv4Interface)), None)
    ipv6 = next((each for each in fixed if isinstance(each, IPv6Interface)), None)
    return Interface(
        network=network.name,
        name=str(path[3]),
        mac=model.mac or "",
        ipv4=ipv4,
        ipv6=ipv6,
        dhcp=DHCP in (model.ipv4 or ()),
        filter=model.filter,
        nmcli=MappingProxyType(dict(model.nmcli or {})),
        more=tuple(each for each in fixed if each not in (ipv4, ipv6)),
        ipv6_method=next((each for each in model.ipv6 or () if isinstance(each, str)), ""),
        spoofing=model.spoofing or "deny",
        model=None if model.model == "virtio" else model.model,
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
    if network.is_beyond:
        return  # the server of the outer network answers there
    reason = "its DHCP is off" if mode.has_hypervisor_address else f"mode {mode} has none"
    if network.vlan is not None:
        reason = "libvirt has no part in a VLAN"
    if mode.has_hypervisor_address and network.cidr is None:
        if report.is_in_file(("networks", network.name, "cidr")):
            nics.doubtful.add(str(path[1]))
            return  # what is wrong with it has been reported there
        reason = "it has no cidr"
    elif mode.has_hypervisor_address and network.hypervisor4 is None:
        reason = "the hypervisor has no address on it"
    report.add(path, f"the network {network.name} serves no DHCP: {reason}", "give the NIC an address")


def _ipv6_possible(path: Path, nic: Interface, network: Network, nics: Nics, report: Report) -> None:
    """Report a NIC that gets no IPv6 address from anywhere, and two methods that exclude each other."""
    if network.is_beyond:
        return  # the routers and servers of the outer network answer there
    if network.hypervisor6 is None:
        if network.cidr6 is None and report.is_in_file(("networks", network.name, "cidr6")):
            nics.doubtful.add(str(path[1]))
            return  # what is wrong with it has been reported there
        reason = "it has no cidr6" if network.cidr6 is None else "the hypervisor has no IPv6 address on it"
        what = f"nothing announces IPv6 addresses on the network {network.name}: {reason}"
        report.add(path, what, "give the NIC an address")
    elif nic.ipv6_method == "auto" and network.dhcp6 is not None:
        what = f"other NICs on the network {network.name} are dhcp, and its server announces one or the other"
        report.add(path, what, "dhcp, or an address")
    elif nic.ipv6_method == "auto" and network.hypervisor6.network.prefixlen != 64:
        what = f"NICs form their own addresses in a /64, and the network {network.name} is {network.cidr6}"
        report.add(path, what, "dhcp, or an address")
    elif nic.ipv6_method == "dhcp" and network.dhcp6 is None:
        report.add(path, f"{network.cidr6} has no address left for DHCP", "give the NIC an address")


def _made_of_mac(nic: Interface, network: Network) -> IPv6Interface | None:
    """Return the address that an ``auto`` NIC makes in the network's subnet, None if it is not known."""
    subnet = network.cidr6
    if nic.ipv6_method != "auto" or not nic.mac or subnet is None or subnet.prefixlen != 64:
        return None
    return interface_in(subnet, nic.mac)


def _leases6(
    lab: str,
    nics: Mapping[_Key, Interface],
    networks: Mapping[str, Network],
    claims: _Claims,
    report: Report,
) -> dict[_Key, IPv6Interface]:
    waiting: dict[str, list[_Key]] = {}
    for key, nic in nics.items():
        if nic.ipv6_method == "dhcp":
            waiting.setdefault(nic.network, []).append(key)
    leases: dict[_Key, IPv6Interface] = {}
    taken = [address for address in claims.addresses if isinstance(address, IPv6Address)]
    for name, keys in waiting.items():
        span, subnet = networks[name].dhcp6, networks[name].cidr6
        if span is None or subnet is None:
            continue
        found = leased_addresses6(lab, keys, span, [each for each in taken if each in subnet])
        for key in keys:
            if key in found:
                leases[key] = IPv6Interface((found[key], subnet.prefixlen))
            else:
                what = f"no address is left in the DHCPv6 range {span[0]}-{span[1]} of {name}"
                report.add(("hosts", key[0], "networks", key[1]), what, "a larger cidr6, or an address")
    return leases


def _fixed(
    path: Path,
    written: Address | IPv4Interface | IPv6Interface,
    network: Network,
    subnet: Prefix | None,
    claims: _Claims,
    report: Report,
) -> IPv4Interface | IPv6Interface | None:
    """Return a declared address with its network's prefix length, None if it is wrong."""
    length = written.network.prefixlen if isinstance(written, (IPv4Interface, IPv6Interface)) else None
    address: Address = written.ip if isinstance(written, (IPv4Interface, IPv6Interface)) else written
    key = "cidr" if address.version == 4 else "cidr6"
    hypervisor = network.hypervisor(address.version)
    if subnet is None:
        if report.is_in_file(("networks", network.name, key)):
            return None  # what is wrong with it has been reported there
        declared = report.line_of(("networks", network.name))
        report.add(path, f"the network {network.name} has no {key}", f"add one in line {declared}")
    elif address not in subnet:
        report.add(path, f"{address} is outside the network {network.name}, which is {subnet}")
    elif (why := misfit(address, subnet)) is not None:
        report.add(path, why)
    elif hypervisor is not None and address == hypervisor.ip:
        what = f"{address} is the hypervisor's address on the network {network.name}"
        line = report.line_of(("networks", network.name))
        report.add(path, what, f"hypervisor_address gives it another one or none, in line {line}")
    elif length not in (None, subnet.prefixlen):
        report.add(
            path, f"the network {network.name} has /{subnet.prefixlen}, not /{length}", "leave the length out"
        )
    elif claims.address(path, address):
        return with_length(address, subnet)
    return None


def _leases(
    lab: str,
    nics: Mapping[_Key, Interface],
    networks: Mapping[str, Network],
    claims: _Claims,
    report: Report,
) -> dict[_Key, IPv4Interface]:
    waiting: dict[str, list[_Key]] = {}
    for key, nic in nics.items():
        if nic.dhcp:
            waiting.setdefault(nic.network, []).append(key)
    leases: dict[_Key, IPv4Interface] = {}
    taken = sorted(address for address in claims.addresses if isinstance(address, IPv4Address))
    for name, keys in waiting.items():
        network = networks[name]
        if network.dhcp is None or network.cidr is None:
            continue
        span = network.dhcp
        inside = [address for address in taken if span.first <= address <= span.last]
        found = leased_addresses(lab, keys, span, inside)
        for key in keys:
            if key in found:
                leases[key] = IPv4Interface((found[key], network.cidr.prefixlen))
            else:
                what = f"no address is left in the DHCP range {span.first}-{span.last} of {name}"
                report.add(("hosts", key[0], "networks", key[1]), what, "make the range larger")
    return leases
