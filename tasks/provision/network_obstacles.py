"""What a network would be refused for: a foreign name, a device that is not there, a subnet that is taken."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface
from typing import Any

from labrun.hypervisor import connect, is_active, networks_of
from labrun.inventory.model import Lab, Mode, Network, Prefix
from labrun.ownership import Tag, read_tag
from labrun.tasks.provision.hypervisor_network import HypervisorNetwork, hypervisor_network
from labrun.tasks.provision.objects import Planned
from labrun.tasks.provision.planning import LabPlan

__all__ = ["device_fault", "network_obstacles"]

_Interface = IPv4Interface | IPv6Interface


def network_obstacles(lab: Lab, uri: str, plan: LabPlan, *, prune: bool) -> Iterator[tuple[str, str]]:
    """Yield the name of each network of the plan that would be refused, and the reason.

    Raises HypervisorError and libvirtError.
    """
    if not plan.networks:
        return
    others = {str(handle.name()): (handle, xml) for handle, xml in networks_of(connect(uri))}
    here = hypervisor_network(uri, with_routes=True)
    gone = {each.full_name for each in plan.extra_networks.values()} if prune else set()
    for each in plan.networks:
        network, full = lab.networks[each.spec.name], each.spec.full_name
        beside = {name: other for name, other in others.items() if name != full and name not in gone}
        why = None
        if each.seen is None and full in others:
            why = _taken(full)
        why = why or (device_fault(network, here) if here is not None else None)
        if why is None and network.bridge_name is not None:
            why = _bridge_taken(lab, network.bridge_name, others.get(full), beside, here)
        if why is None and _gets_subnet(each):
            own = [found for found in (network.hypervisor4, network.hypervisor6) if found is not None]
            why = _of_networks(lab, own, beside)
            if why is None and here is not None:
                made = {_bridge(xml) for handle, xml in others.values() if is_active(handle)}
                why = _of_hypervisor(own, here, made)
        if why is not None:
            yield each.spec.name, why


def _taken(full: str) -> str:
    hint = f"rename the lab, or inspect it with `virsh net-dumpxml {full}`"
    return f"the network {full} exists and is not this lab's ({hint})"


def _bridge_taken(
    lab: Lab,
    bridge: str,
    own: tuple[Any, str] | None,
    others: Mapping[str, tuple[Any, str]],
    here: HypervisorNetwork | None,
) -> str | None:
    """Return who has the name that the network's bridge is to have, None if nobody else has."""
    for name, (_, xml) in others.items():
        if _bridge(xml) == bridge:
            tag = read_tag(xml)
            whose = f" of the lab {tag.lab}" if tag is not None and tag.lab != lab.name else ""
            return f"the bridge {bridge} belongs to the network {name}{whose} (change `bridge_name`)"
    is_own = own is not None and _bridge(own[1]) == bridge
    if here is not None and bridge in here.links and not is_own:
        return f"the hypervisor has a device {bridge} already (change `bridge_name`)"
    return None


def _gets_subnet(each: Planned) -> bool:
    """Tell whether the plan gives the hypervisor an address that it does not have yet."""
    if each.seen is None or each.seen.have.get("active") != "yes":
        return True
    return bool({"ipv4", "ipv6"} & each.plan.item.differences.keys())


def device_fault(network: Network, here: HypervisorNetwork) -> str | None:
    """Return what is wrong with the hypervisor's own device that the network stands on."""
    name = network.bridge if network.mode is Mode.BRIDGE else network.dev
    if name is None:
        return None
    what = "bridge" if network.mode is Mode.BRIDGE else "device"
    link = here.links.get(name)
    if link is None:
        made = f" (`labrun host-bridge create {name} --dev NIC` makes one)" if what == "bridge" else ""
        return f"the hypervisor has no {what} {name}{made}"
    if what == "bridge" and link.kind != "bridge":
        return f"{name} of the hypervisor is not a bridge"
    if name not in here.up:
        return f"the {what} {name} of the hypervisor is down (`ip link set {name} up`)"
    return None


def _of_networks(lab: Lab, own: list[_Interface], others: Mapping[str, tuple[Any, str]]) -> str | None:
    for name, (handle, xml) in others.items():
        if not is_active(handle):
            continue
        for theirs in _addresses(xml):
            for each in own:
                if _overlap(each.network, theirs.network):
                    whose = _whose(lab, name, read_tag(xml))
                    return f"{_clash(each.network, theirs.network)} the subnet of {whose}"
    return None


def _clash(own: Prefix, theirs: Prefix) -> str:
    return f"{own} is" if own == theirs else f"{own} overlaps {theirs},"


def _overlap(one: Prefix, other: Prefix) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def _whose(lab: Lab, name: str, tag: Tag | None) -> str:
    if tag is None or not tag.fits(name):
        return f"the network {name} here (change `cidr`, or take that network down)"
    if tag.lab != lab.name:
        return f"the network {name} of the lab {tag.lab} (change `cidr`, or `labrun down --name {tag.lab}`)"
    if tag.extra.get("network") in lab.networks:
        return f"this lab's own network {name} until it has another one (change one after the other)"
    return f"this lab's own network {name}, which is no longer in the file (`labrun up --prune` removes it)"


def _of_hypervisor(own: list[_Interface], here: HypervisorNetwork, bridges: set[str]) -> str | None:
    """Return which address or route of the hypervisor would meet the network.

    A route to a wider range is none: the network's own, more specific one wins.
    """
    for each in own:
        for link in here.links.values():
            for held in link.addresses if link.name in here.up and link.name not in bridges else ():
                if _overlap(each.network, held.network):
                    whose = f"the subnet of {link.name} of the hypervisor, which has {held.ip}"
                    return f"{_clash(each.network, held.network)} {whose} (change `cidr`)"
        for route in here.routes:
            prefix = route.prefix
            if route.is_of_address or not prefix.prefixlen or prefix.prefixlen < each.network.prefixlen:
                continue
            if _overlap(each.network, prefix) and route.device not in bridges:
                via = f" via {route.via}" if route.via is not None else ""
                text = f"the hypervisor has a route to {prefix}{via} dev {route.device}"
                return f"{text}, which is in {each.network} (change `cidr`)"
    return None


def _bridge(xml: str) -> str:
    """Return the bridge that libvirt made for a network; none for one that was there before."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    found = root.find("bridge") if root.find("forward[@mode='bridge']") is None else None
    return "" if found is None else found.get("name", "")


def _addresses(xml: str) -> Iterator[_Interface]:
    for found in ET.fromstring(xml).findall("./ip"):  # noqa: S314 - libvirt's own output
        address, length = found.get("address"), found.get("prefix") or found.get("netmask")
        if address and length:
            yield ip_interface(f"{address}/{length}")
