"""Read libvirt's domains and networks, as XML, into a draft of new machines like them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Final

from labrun.inventory.starting.draft import Draft, DraftHost, DraftNetwork, DraftNic, Interface, misread

__all__ = ["Described", "read_libvirt"]

_MODES: Final = {"nat": "nat", "route": "route", "open": "open", "bridge": "bridge"}
_KIBIBYTES: Final = {
    "b": 1 / 1024,
    "bytes": 1 / 1024,
    "kb": 1000 / 1024,
    "k": 1,
    "kib": 1,
    "mb": 1_000_000 / 1024,
    "m": 1024,
    "mib": 1024,
    "gb": 1e9 / 1024,
    "g": 1024**2,
    "gib": 1024**2,
    "tib": 1024**3,
}


@dataclass(frozen=True, slots=True)
class Described:
    """One libvirt object's XML; ``lab`` is the lab that labrun made it for, None if it did not make it."""

    name: str
    xml: str
    lab: str | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A network of libvirt with the addresses that its DHCP reserves, by MAC."""

    element: ET.Element
    reserved: dict[str, str]


def read_libvirt(uri: str, domains: Sequence[Described], networks: Sequence[Described]) -> Draft:
    """Return the draft of new machines like these domains. Raises UsageError if there is none to read.

    A domain's disks and what is on them are not taken over, nor are MAC addresses.
    """
    draft = Draft(uri, "domains of libvirt")
    seen = {each.name: _seen(each) for each in networks}
    for domain in domains:
        if domain.lab is not None:
            draft.leave_out(f"domain {domain.name}", f"labrun made it for the lab {domain.lab}")
        else:
            _domain(draft, domain, seen)
    if not draft.hosts:
        raise misread(uri, "has no domains that labrun did not make itself")
    draft.leave_out("disks and what is on them", "the lab has new machines of labrun's image")
    draft.leave_out(
        "the networks themselves", "`up` makes new ones, once those with the same subnets are gone"
    )
    return draft


def _seen(network: Described) -> _Seen:
    element = ET.fromstring(network.xml)  # noqa: S314 - libvirt's own output
    hosts = element.findall("./ip/dhcp/host")
    reserved = {each.get("mac", "").lower(): each.get("ip", "") for each in hosts if each.get("mac")}
    return _Seen(element, reserved)


def _domain(draft: Draft, domain: Described, seen: dict[str, _Seen]) -> None:
    element = ET.fromstring(domain.xml)  # noqa: S314 - libvirt's own output
    host = draft.add_host(domain.name, f"the domain {domain.name}")
    memory = element.find("memory")
    if memory is not None and memory.text and re.fullmatch(r"\s*\d{1,15}\s*", memory.text):
        amount = int(memory.text) * _KIBIBYTES.get(memory.get("unit", "KiB").lower(), 1) / 1024
        host.memory = max(256, min(1_048_576, round(amount)))
    vcpu = (element.findtext("vcpu") or "").strip()
    if re.fullmatch(r"\d{1,3}", vcpu):
        host.vcpus = max(1, min(64, int(vcpu)))
    for nic in element.findall("./devices/interface"):
        _nic(draft, host, nic, seen)


def _nic(draft: Draft, host: DraftHost, element: ET.Element, seen: dict[str, _Seen]) -> None:
    source, kind = element.find("source"), element.get("type", "")
    mac = element.find("mac")
    own = mac.get("address", "").lower() if mac is not None else ""
    target = element.find("target")
    called = (target.get("dev", "") if target is not None else "") or own
    if kind == "network" and source is not None and source.get("network"):
        name = str(source.get("network"))
        network = draft.add_network(name, f"libvirt's network {name}")
        if network.mode is None:
            _network(draft, network, seen.get(name))
        nic = DraftNic(name, called)
        address = seen[name].reserved.get(own) if name in seen else None
        subnet = next((each for each in network.subnets if each.version == 4), None)
        if address and subnet is not None:
            nic.addresses += _interface(f"{address}/{subnet.prefixlen}")
        else:
            nic.dhcp = True
    elif kind == "bridge" and source is not None and source.get("bridge"):
        bridge = str(source.get("bridge"))
        network = draft.add_network(f"bridge {bridge}", f"the bridge {bridge} of the hypervisor")
        network.mode, network.settings["bridge"] = "bridge", bridge
        nic = DraftNic(f"bridge {bridge}", called, dhcp=True)
    elif kind == "direct" and source is not None and source.get("dev"):
        device = str(source.get("dev"))
        network = draft.add_network(f"device {device}", f"directly on {device} of the hypervisor")
        network.mode, network.settings["dev"] = "macvtap", device
        nic = DraftNic(f"device {device}", called, dhcp=True)
    else:
        draft.leave_out(f"{host.name}: a NIC of the kind {kind or 'unknown'}", "has no counterpart")
        return
    rest = [tag for tag in ("filterref", "vlan", "virtualport", "bandwidth") if element.find(tag) is not None]
    if source.get("portgroup"):
        rest.append("portgroup")
    if rest:
        draft.leave_out(
            f"{host.name}: {', '.join(rest)} of the NIC on {draft.networks[nic.network].name}", "not read"
        )
    host.nics.append(nic)


def _network(draft: Draft, network: DraftNetwork, seen: _Seen | None) -> None:
    if seen is None:
        network.mode = "isolated"
        draft.leave_out(f"network {network.name}", "libvirt does not have it any more; it gets a new subnet")
        return
    forward, bridge = seen.element.find("forward"), seen.element.find("bridge")
    mode = forward.get("mode", "nat") if forward is not None else ""
    addresses = [address for each in seen.element.findall("ip") for address in _address(each)]
    if mode == "bridge" and bridge is not None and bridge.get("name"):
        network.mode, network.settings["bridge"] = "bridge", str(bridge.get("name"))
        return
    if mode and mode not in _MODES:
        draft.leave_out(f"network {network.name}: forward mode {mode}", "written as isolated")
    network.mode = _MODES.get(mode) or ("isolated" if addresses else "very-isolated")
    if network.mode == "bridge":
        network.mode = "isolated"
    for address in addresses:
        if any(each.version == address.version for each in network.subnets):
            continue
        network.subnets.append(address.network)
        if address.version == 4 and address.ip != address.network[1]:
            network.hypervisor[4] = str(address.ip)
    if addresses and seen.element.find("./ip/dhcp") is None:
        network.dhcp = False
    mtu = seen.element.find("mtu")
    size = mtu.get("size", "") if mtu is not None else ""
    if re.fullmatch(r"\d{3,5}", size) and 1280 <= int(size) <= 65535:
        network.mtu = int(size)
    rest = [
        tag for tag in ("dns", "domain", "route", "portgroup", "vlan") if seen.element.find(tag) is not None
    ]
    rest += ["forward ports"] if seen.element.find("./forward/nat") is not None else []
    if rest:
        draft.leave_out(f"network {network.name}: {', '.join(rest)}", "not read")


def _address(element: ET.Element) -> list[Interface]:
    family = 6 if element.get("family") == "ipv6" else 4
    length = element.get("prefix") or element.get("netmask") or ("64" if family == 6 else "24")
    return _interface(f"{element.get('address', '')}/{length}")


def _interface(text: str) -> list[Interface]:
    try:
        return [ip_interface(text)]
    except ValueError:
        return []
