"""What of a lab over several hypervisors is on one of them: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from labrun.inventory.model import Lab, Mode, Network
from labrun.inventory.topology.placement import Placement, span_fault

__all__ = ["homes_of", "part_of", "placement_faults", "spanned"]


def spanned(lab: Lab, placement: Placement) -> Mapping[str, tuple[str, ...]]:
    """Return the hypervisors of each network that is on several, its home first."""
    found = {
        name: placement.of_network(lab, name) for name, each in lab.networks.items() if each.vlan is None
    }
    return {name: on for name, on in found.items() if len(on) > 1}


def homes_of(lab: Lab, placement: Placement) -> Mapping[str, str]:
    """Return the hypervisor that has the address, the DHCP and the DNS of each network, by network.

    One without machines is nobody's: then it is that of the lab's first hypervisor.
    """
    first = next(iter(lab.hypervisors))
    return {name: next(iter(placement.of_network(lab, name)), first) for name in lab.networks}


def part_of(lab: Lab, placement: Placement, hypervisor: str) -> Lab:
    """Return the lab as one hypervisor has it: the hosts placed there, and their networks.

    A network whose home is elsewhere has no address, no DHCP and no way out there. A filter that needs
    nftables is only where a host has it: another hypervisor may be unable to enforce it.
    """
    hosts = {name: lab.hosts[name] for name in placement.on(hypervisor)}
    homes = homes_of(lab, placement)
    networks = {
        name: network if homes[name] == hypervisor or network.is_beyond else _away(network)
        for name, network in lab.networks.items()
        if homes[name] == hypervisor or hypervisor in placement.of_network(lab, name)
    }
    used = {nic.filter for host in hosts.values() for nic in host.interfaces}
    filters = {name: each for name, each in lab.filters.items() if name in used or not each.needs_nftables}
    return replace(
        lab,
        hosts=MappingProxyType(hosts),
        networks=MappingProxyType(networks),
        filters=MappingProxyType(filters),
    )


def _away(network: Network) -> Network:
    nothing: Mapping[str, str] = MappingProxyType({})
    return replace(
        network,
        mode=Mode.VERY_ISOLATED,
        hypervisor4=None,
        hypervisor6=None,
        dhcp=None,
        dhcp6=None,
        domain=None,
        nat_ports=None,
        dns=nothing,
        forward=(),
    )


def placement_faults(lab: Lab, placement: Placement) -> dict[str, str]:
    """Return why networks cannot be where their hosts are placed, by network."""
    found = {}
    for name, on in spanned(lab, placement).items():
        if fault := span_fault(lab, lab.networks[name], on):
            found[name] = f"{fault[0]} ({fault[1]})"
    homes = homes_of(lab, placement)
    routed = [each for each in lab.networks.values() if each.mode in (Mode.ROUTE, Mode.OPEN)]
    for network in lab.networks.values():
        if not network.mode.has_uplink or network.name in found:
            continue
        other = next((each for each in routed if homes[each.name] != homes[network.name]), None)
        if other is not None:
            what = f"{homes[network.name]} forwards for it and {homes[other.name]} for {other.name}"
            found[network.name] = f"{what}: the two do not route to each other (put a host of both on one)"
    return found
