"""Build the lab's networks: subnets, hypervisor addresses and DHCP ranges that are consistent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from types import MappingProxyType
from typing import Final

from labrun.inventory.file.addressing import LARGEST_RANGE, default_range, hypervisor_address
from labrun.inventory.file.network_models import DhcpModel, HypervisorForwardModel, NetworkModel
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.file.schema import LabFile
from labrun.inventory.model import DhcpRange, Mode, Network
from labrun.inventory.traffic import HypervisorForward

__all__ = ["LONGEST_NAME", "build_networks"]

# A container's name is its systemd machine name, which is limited to 64 like a host name.
LONGEST_NAME: Final = 63
# The modes in which a key has a meaning; libvirt rejects or ignores it in the others.
_ONLY_FOR: Final[Mapping[str, tuple[Mode, ...]]] = {
    "dev": (Mode.NAT, Mode.ROUTE, Mode.MACVTAP),
    "bridge": (Mode.BRIDGE,),
    "nat_ports": (Mode.NAT,),
    "forward": (Mode.NAT,),
    "domain": (Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.ISOLATED),
    "dns": (Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.ISOLATED),
    "mtu": (Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.ISOLATED, Mode.VERY_ISOLATED),
}
_NEEDED_BY: Final = {Mode.BRIDGE: ("bridge", "bridge: br0"), Mode.MACVTAP: ("dev", "dev: enp3s0")}


def build_networks(file: LabFile, report: Report) -> dict[str, Network]:
    """Return every network with its derived values; report the errors of each."""
    networks = {name: _network(name, model, file, report) for name, model in file.networks.items()}
    _overlaps(((name, net.cidr) for name, net in networks.items() if net.cidr), "cidr", report)
    _overlaps(((name, net.cidr6) for name, net in networks.items() if net.cidr6), "cidr6", report)
    return networks


def _network(name: str, model: NetworkModel, file: LabFile, report: Report) -> Network:
    path: Path = ("networks", name)
    mode = _mode(model, file)
    if len(full := f"{file.name}-{name}") > LONGEST_NAME:
        report.add(path, f"its name in libvirt would be {full}", f"longer than {LONGEST_NAME} characters")
    _keys_fit_mode(path, model, mode, report)
    cidr = model.cidr if _large_enough(path, model.cidr, report) else None
    cidr6 = model.cidr6 if _large_enough(path, model.cidr6, report) else None
    if mode.has_hypervisor_address and model.cidr is None and model.cidr6 is None:
        report.add(path, f"a network of mode {mode} needs a cidr", "such as cidr: 172.16.0.0/24")
    own4 = own6 = None
    if mode.has_hypervisor_address:
        own4 = IPv4Interface((hypervisor_address(cidr), cidr.prefixlen)) if cidr else None
        own6 = IPv6Interface((cidr6.network_address + 1, cidr6.prefixlen)) if cidr6 else None
    ports = tuple(model.nat_ports or ())
    return Network(
        name=name,
        mode=mode,
        cidr=cidr,
        cidr6=cidr6,
        hypervisor4=own4,
        hypervisor6=own6,
        dhcp=_dhcp(path, model, mode, cidr, report),
        domain=model.domain,
        mtu=model.mtu,
        autostart=model.autostart,
        dev=model.dev,
        bridge=model.bridge,
        nat_ports=(ports[0], ports[1]) if ports else None,
        dns=MappingProxyType({key: str(address) for key, address in (model.dns or {}).items()}),
        forward=tuple(_forward(each) for each in model.forward or ()),
    )


def _forward(model: HypervisorForwardModel) -> HypervisorForward:
    to, _, port = model.to.rpartition(":")
    return HypervisorForward(model.port, to.strip("[]"), int(port), model.proto)


def _mode(model: NetworkModel, file: LabFile) -> Mode:
    """Return the declared mode; without one, a subnet of existing machines only is not served by labrun."""
    existing = bool(file.hosts) and all(host.address is not None for host in file.hosts.values())
    if existing and "mode" not in model.model_fields_set:
        return Mode.VERY_ISOLATED
    return Mode(model.mode)


def _keys_fit_mode(path: Path, model: NetworkModel, mode: Mode, report: Report) -> None:
    for key, modes in _ONLY_FOR.items():
        if getattr(model, key) is not None and mode not in modes:
            report.add((*path, key), f"mode {mode} has no {key}", f"it is for {', '.join(modes)}")
    if mode in _NEEDED_BY and getattr(model, _NEEDED_BY[mode][0]) is None:
        key, example = _NEEDED_BY[mode]
        report.add(path, f"a network of mode {mode} needs {key}", f"such as {example}")
    if model.nat_ports and model.nat_ports[0] > model.nat_ports[1]:
        report.add((*path, "nat_ports"), "the first port is above the last")
    if model.cidr6 is not None and model.mtu is not None and model.mtu < 1280:
        report.add((*path, "mtu"), f"{model.mtu} is too small for IPv6", "1280 is the least")


def _large_enough(path: Path, subnet: IPv4Network | IPv6Network | None, report: Report) -> bool:
    if subnet is None:
        return False
    longest, key = (30, "cidr") if isinstance(subnet, IPv4Network) else (126, "cidr6")
    if subnet.prefixlen > longest:
        report.add((*path, key), f"{subnet} is too small for a network with hosts", f"at most /{longest}")
        return False
    return True


def _dhcp(
    path: Path, model: NetworkModel, mode: Mode, cidr: IPv4Network | None, report: Report
) -> DhcpRange | None:
    if model.dhcp is False:
        return None
    if model.dhcp is not None:
        if not mode.has_hypervisor_address:
            report.add((*path, "dhcp"), f"on a network of mode {mode} libvirt serves no DHCP")
            return None
        if model.cidr is None:
            report.add((*path, "dhcp"), "DHCP needs a cidr")
    if cidr is None or not mode.has_hypervisor_address:
        return None
    return (
        _declared_range(path, model.dhcp, cidr, report)
        if isinstance(model.dhcp, DhcpModel)
        else default_range(cidr)
    )


def _declared_range(path: Path, dhcp: DhcpModel, cidr: IPv4Network, report: Report) -> DhcpRange:
    first, last = dhcp.range
    at = (*path, "dhcp", "range")
    outside = [str(end) for end in (first, last) if end not in cidr]
    own = hypervisor_address(cidr)
    if outside:
        report.add(at, f"{' and '.join(outside)} {'is' if len(outside) == 1 else 'are'} outside {cidr}")
    elif first > last:
        report.add(at, f"{first} is above {last}", "the lower address comes first")
    elif first <= own <= last:
        report.add(at, f"the range holds {own}, the hypervisor's address")
    elif _holds(first, last, cidr.network_address) or _holds(first, last, cidr.broadcast_address):
        report.add(at, "the range holds the subnet's network or broadcast address")
    elif int(last) - int(first) >= LARGEST_RANGE:
        report.add(at, f"the range holds more than {LARGEST_RANGE} addresses")
    else:
        return DhcpRange(first, last)
    return default_range(cidr)


def _holds(first: IPv4Address, last: IPv4Address, address: IPv4Address) -> bool:
    return first <= address <= last


def _overlaps(subnets: Iterable[tuple[str, IPv4Network | IPv6Network]], key: str, report: Report) -> None:
    """Report each network whose subnet overlaps that of an earlier one in the file."""
    found = list(subnets)
    order = {name: number for number, (name, _) in enumerate(found)}
    spans = sorted((int(net.network_address), int(net.broadcast_address), name, net) for name, net in found)
    widest: tuple[int, str, IPv4Network | IPv6Network] | None = None
    for first, last, name, net in spans:
        # Two subnets are disjoint or nested, so comparing with the widest one so far is enough.
        if widest is not None and first <= widest[0]:
            one, other = sorted(((name, net), widest[1:]), key=lambda entry: order[entry[0]])
            line = report.line_of(("networks", one[0], key))
            report.add(
                ("networks", other[0], key),
                f"{other[1]} overlaps {one[1]} of the network {one[0]} in line {line}",
            )
        if widest is None or last > widest[0]:
            widest = (last, name, net)
