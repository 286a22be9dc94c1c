"""Build the lab's networks: subnets, hypervisor addresses and DHCP ranges that are consistent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from types import MappingProxyType
from typing import Final

from labrun.inventory.file.address_parsing import DHCP, NONE
from labrun.inventory.file.addressing import (
    LARGEST_RANGE,
    default_range,
    hypervisor_address,
    is_link,
    misfit,
    range6,
    with_length,
)
from labrun.inventory.file.merging import Merged
from labrun.inventory.file.network_models import DhcpModel, HypervisorForwardModel, NetworkModel
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.file.schema import LabFile
from labrun.inventory.model import DhcpRange, Mode, Network, Vlan
from labrun.inventory.traffic import HypervisorForward

__all__ = ["LONGEST_NAME", "build_networks"]

# A container's name is its systemd machine name, which is limited to 64 like a host name.
LONGEST_NAME: Final = 63
# The modes in which a key has a meaning; libvirt rejects or ignores it in the others.
_ONLY_FOR: Final[Mapping[str, tuple[Mode, ...]]] = {
    "dev": (Mode.NAT, Mode.ROUTE, Mode.MACVTAP),
    "bridge": (Mode.BRIDGE,),
    "bridge_name": (Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.ISOLATED, Mode.VERY_ISOLATED),
    "nat_ports": (Mode.NAT,),
    "hypervisor_address": (Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.ISOLATED),
    "forward": (Mode.NAT,),
    "domain": (Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.ISOLATED),
    "dns": (Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.ISOLATED),
    "mtu": (Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.ISOLATED, Mode.VERY_ISOLATED),
}
# Bridges of libvirt's networks, taps of QEMU and LXC, and labrun's own.
_GIVEN: Final = re.compile(r"(?:virbr|vnet|macvtap)[0-9]+|lr[0-9a-f]{12}|lo")
# What libvirt serves at its address on the network.
_NEEDS_ADDRESS: Final = ("dhcp", "domain", "dns")
_NEEDED_BY: Final = {Mode.BRIDGE: ("bridge", "bridge: br0"), Mode.MACVTAP: ("dev", "dev: enp3s0")}


@dataclass(slots=True)
class _Held:
    """The addresses that the file gives to hosts, on one network; ``routers`` are those of routers."""

    hosts: set[IPv4Address | IPv6Address] = field(default_factory=set)
    routers: set[IPv4Address | IPv6Address] = field(default_factory=set)
    asks_dhcp6: bool = False


def build_networks(file: LabFile, hosts: Mapping[str, Merged], report: Report) -> dict[str, Network]:
    """Return every network with its derived values; report the errors of each."""
    held = _held(file, hosts)
    networks = {
        name: _network(name, model, file, held[name], report) for name, model in file.networks.items()
    }
    _bridge_names(networks, report)
    _overlaps(((name, net.cidr) for name, net in networks.items() if net.cidr), "cidr", report)
    _overlaps(((name, net.cidr6) for name, net in networks.items() if net.cidr6), "cidr6", report)
    return networks


def _bridge_names(networks: Mapping[str, Network], report: Report) -> None:
    """Report bridge names that would collide: of two networks, or with one that libvirt or labrun assigns."""
    first: dict[str, Path] = {}
    for name, network in networks.items():
        bridge = network.bridge_name
        if bridge is None:
            continue
        path: Path = ("networks", name, "bridge_name")
        if _GIVEN.fullmatch(bridge):
            report.add(
                path, f"{bridge} is a name that libvirt or labrun assigns itself", "choose another one"
            )
        elif (other := first.setdefault(bridge, path)) != path:
            where = f"{other[1]} has it in line {report.line_of(other)}"
            report.add(path, f"{bridge} is used twice", where)


def _held(file: LabFile, hosts: Mapping[str, Merged]) -> dict[str, _Held]:
    held = {name: _Held() for name in file.networks}
    for host in hosts.values():
        # An existing machine is no gateway of a network that libvirt makes.
        is_router = host.model.role == "router" and host.model.address is None
        for key, nic in (host.model.networks or {}).items():
            name = nic.where(key)
            written = [getattr(each, "ip", each) for each in (*(nic.ipv4 or ()), *(nic.ipv6 or ()))]
            if host.model.address is not None:
                written.append(_as_address(host.model.address))
            found = {each for each in written if isinstance(each, IPv4Address | IPv6Address)}
            if name in held:
                held[name].asks_dhcp6 |= DHCP in (nic.ipv6 or ()) and host.model.address is None
                held[name].hosts |= found
                held[name].routers |= found if is_router else set()
    return held


def _as_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _network(name: str, model: NetworkModel, file: LabFile, held: _Held, report: Report) -> Network:
    path: Path = ("networks", name)
    mode = _mode(model, file)
    if len(full := f"{file.name}-{name}") > LONGEST_NAME:
        report.add(path, f"its name in libvirt would be {full}", f"longer than {LONGEST_NAME} characters")
    if model.vlan is None:
        _keys_fit_mode(path, model, mode, report)
    cidr = model.cidr if _large_enough(path, model.cidr, report) else None
    cidr6 = model.cidr6 if _large_enough(path, model.cidr6, report) else None
    if mode.has_hypervisor_address and model.cidr is None and model.cidr6 is None:
        report.add(path, f"a network of mode {mode} needs a cidr", "such as cidr: 172.16.0.0/24")
    own4 = own6 = None
    if mode.has_hypervisor_address:
        own4 = _own(path, "ipv4", model, cidr, held, report)
        own6 = _own(path, "ipv6", model, cidr6, held, report)
        _forwards_from(path, model, mode, (own4, own6), report)
    ports = tuple(model.nat_ports or ())
    return Network(
        name=name,
        mode=mode,
        cidr=cidr,
        cidr6=cidr6,
        hypervisor4=own4 if isinstance(own4, IPv4Interface) else None,
        hypervisor6=own6 if isinstance(own6, IPv6Interface) else None,
        dhcp=_dhcp(path, model, mode, own4, report) if model.vlan is None else None,
        dhcp6=range6(own6.network, own6.ip) if isinstance(own6, IPv6Interface) and held.asks_dhcp6 else None,
        domain=model.domain,
        mtu=model.mtu,
        autostart=model.autostart,
        dev=model.dev,
        bridge=model.bridge,
        bridge_name=model.bridge_name,
        nat_ports=(ports[0], ports[1]) if ports else None,
        dns=MappingProxyType({key: str(address) for key, address in (model.dns or {}).items()}),
        forward=tuple(_forward(each) for each in model.forward or ()),
        vlan=Vlan(model.vlan.on, model.vlan.id) if model.vlan is not None else None,
    )


def _own(
    path: Path,
    key: str,
    model: NetworkModel,
    subnet: IPv4Network | IPv6Network | None,
    held: _Held,
    report: Report,
) -> IPv4Interface | IPv6Interface | None:
    """Return the hypervisor's address on a subnet, declared or derived; None if it has none."""
    declared = getattr(model.hypervisor_address, key, None)
    if declared == NONE:
        return None
    if declared is None:
        if subnet is None:
            return None
        span = model.dhcp.range if isinstance(model.dhcp, DhcpModel) else None
        found = hypervisor_address(subnet, held.hosts, held.routers, (span[0], span[1]) if span else None)
        return None if found is None else with_length(found, subnet)
    at = _at(path, ("hypervisor_address", key), report)
    if subnet is None:
        missing = "cidr" if key == "ipv4" else "cidr6"
        if getattr(model, missing) is None:
            report.add(at, f"{declared} is in no subnet of the network", f"it has no {missing}")
    elif declared not in subnet:
        report.add(at, f"{declared} is outside the network, which is {subnet}")
    elif (why := misfit(declared, subnet)) is not None:
        report.add(at, why)
    else:
        return with_length(declared, subnet)
    return None


def _at(path: Path, keys: tuple[str, str], report: Report) -> Path:
    """Return the path of a value in its long form, or of its short form where the file has that."""
    return (*path, *keys) if report.is_in_file((*path, *keys)) else (*path, keys[0])


def _forwards_from(
    path: Path, model: NetworkModel, mode: Mode, own: tuple[object, object], report: Report
) -> None:
    """Report what needs an address of the hypervisor where there is none."""
    if own[0] is not None or own[1] is not None:
        return
    declared = model.hypervisor_address
    if mode.has_uplink and declared is not None and NONE in (declared.ipv4, declared.ipv6):
        what = f"a network of mode {mode} needs an address of the hypervisor, which forwards for it"
        report.add((*path, "hypervisor_address"), what, "mode: isolated needs none")
    elif mode.has_uplink and (model.cidr or model.cidr6) and declared is None:
        subnets = " and ".join(str(subnet) for subnet in (model.cidr, model.cidr6) if subnet is not None)
        what = f"{subnets} has no address left for the hypervisor, which forwards for mode {mode}"
        report.add(path, what, "a larger subnet, or mode: isolated")
    if declared is not None and declared.ipv4 == NONE == declared.ipv6:
        for key in _NEEDS_ADDRESS:
            if getattr(model, key) not in (None, False):
                report.add((*path, key), "without an address of the hypervisor there is no DHCP and no DNS")


def _forward(model: HypervisorForwardModel) -> HypervisorForward:
    to, _, port = model.to.rpartition(":")
    return HypervisorForward(model.port, to.strip("[]"), int(port), model.proto)


def _mode(model: NetworkModel, file: LabFile) -> Mode:
    """Return the declared mode; without one, a subnet of existing machines only is not served by labrun.

    The hypervisor has no part in a VLAN.
    """
    if model.vlan is not None:
        return Mode.VERY_ISOLATED
    existing = bool(file.hosts) and all(host.address is not None for host in file.hosts.values())
    if existing and "mode" not in model.model_fields_set:
        return Mode.VERY_ISOLATED
    return Mode(model.mode)


def _keys_fit_mode(path: Path, model: NetworkModel, mode: Mode, report: Report) -> None:
    for key, modes in _ONLY_FOR.items():
        if getattr(model, key) is not None and mode not in modes:
            report.add((*path, key), f"mode {mode} has no {key}", f"only for mode {', '.join(modes)}")
    if mode in _NEEDED_BY and getattr(model, _NEEDED_BY[mode][0]) is None:
        key, example = _NEEDED_BY[mode]
        report.add(path, f"a network of mode {mode} needs {key}", f"such as {example}")
    if model.nat_ports and model.nat_ports[0] > model.nat_ports[1]:
        report.add((*path, "nat_ports"), "the first port is above the last")
    if model.cidr6 is not None and model.mtu is not None and model.mtu < 1280:
        report.add((*path, "mtu"), f"{model.mtu} is too small for IPv6", "1280 is the minimum")


def _large_enough(path: Path, subnet: IPv4Network | IPv6Network | None, report: Report) -> bool:
    if subnet is None:
        return False
    longest, key = (31, "cidr") if isinstance(subnet, IPv4Network) else (127, "cidr6")
    if subnet.prefixlen > longest:
        report.add((*path, key), f"{subnet} is too small for a network with hosts", f"at most /{longest}")
        return False
    return True


def _dhcp(
    path: Path,
    model: NetworkModel,
    mode: Mode,
    own: IPv4Interface | IPv6Interface | None,
    report: Report,
) -> DhcpRange | None:
    if model.dhcp is False:
        return None
    if model.dhcp is not None:
        if not mode.has_hypervisor_address:
            report.add((*path, "dhcp"), f"on a network of mode {mode} libvirt serves no DHCP")
            return None
        if model.cidr is None:
            report.add((*path, "dhcp"), "DHCP needs a cidr")
    if not isinstance(own, IPv4Interface):
        return None
    if isinstance(model.dhcp, DhcpModel):
        return _declared_range(path, model.dhcp, own, report)
    found = default_range(own.network, own.ip)
    if found is None and model.dhcp:
        report.add((*path, "dhcp"), f"{own.network} has no address left for DHCP")
    return found


def _declared_range(path: Path, dhcp: DhcpModel, mine: IPv4Interface, report: Report) -> DhcpRange | None:
    first, last = dhcp.range
    cidr, own = mine.network, mine.ip
    at = (*path, "dhcp", "range")
    outside = [str(end) for end in (first, last) if end not in cidr]
    if outside:
        report.add(at, f"{' and '.join(outside)} {'is' if len(outside) == 1 else 'are'} outside {cidr}")
    elif first > last:
        report.add(at, f"{first} is above {last}", "the lower address comes first")
    elif first <= own <= last:
        report.add(at, f"the range holds {own}, the hypervisor's address")
    elif not is_link(cidr) and any(_holds(first, last, end) for end in (cidr[0], cidr[-1])):
        report.add(at, "the range holds the subnet's network or broadcast address")
    elif int(last) - int(first) >= LARGEST_RANGE:
        report.add(at, f"the range holds more than {LARGEST_RANGE} addresses")
    else:
        return DhcpRange(first, last)
    return default_range(cidr, own)


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
