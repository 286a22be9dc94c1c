"""What libvirt has of a lab's networks: bridges, leases, and which guests of anybody are on them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labrun.bounded import address, integer
from labrun.errors import HypervisorError
from labrun.hypervisor import connect, networks_of, translated
from labrun.inventory.model import Address
from labrun.ownership import read_tag
from labrun.tasks.provision.driver_registry import lab_drivers

__all__ = ["GivenLease", "NetworkView", "Plug", "own_plugs", "view_networks"]


@dataclass(frozen=True, slots=True)
class GivenLease:
    """A DHCP lease of libvirt's; ``expires`` in seconds since the epoch, ``name`` as the guest sent it."""

    mac: str
    address: Address
    name: str
    expires: int


@dataclass(frozen=True, slots=True)
class Plug:
    """A NIC of a running guest; ``dev`` is its end on the hypervisor, ``host`` None for others' guests."""

    domain: str
    host: str | None
    mac: str
    dev: str


@dataclass(frozen=True, slots=True)
class NetworkView:
    """One of the lab's networks in libvirt, ``name`` as in the lab file; ``subnets`` with prefix lengths."""

    name: str
    full_name: str
    uuid: str
    bridge: str
    active: bool
    subnets: tuple[str, ...]
    leases: tuple[GivenLease, ...]
    plugs: tuple[Plug, ...]


def view_networks(lab: str, uri: str) -> dict[str, NetworkView]:
    """Return the lab's networks that libvirt has, by name. Raises HypervisorError."""
    with translated("networks"):
        found = {}
        for network, xml in networks_of(connect(uri)):
            tag = read_tag(xml)
            if tag is not None and tag.lab == lab and tag.fits(network.name()):
                found[tag.extra.get("network", "")] = (network, ET.fromstring(xml))  # noqa: S314 - libvirt's
        plugs = [each for _, driver_uri in lab_drivers(uri) for each in _plugs(driver_uri, lab)]
        return {name: _view(name, network, root, plugs) for name, (network, root) in found.items()}


def own_plugs(lab: str, uri: str) -> dict[tuple[str, str], Plug]:
    """Return the NICs of the lab's running guests, by host and MAC. Raises HypervisorError."""
    with translated("networks"):
        plugs = [plug for _, driver_uri in lab_drivers(uri) for _, plug in _plugs(driver_uri, lab)]
    return {(plug.host, plug.mac): plug for plug in plugs if plug.host is not None}


def _view(name: str, network: Any, root: ET.Element, plugs: list[tuple[str, Plug]]) -> NetworkView:
    bridge = root.find("./bridge")
    device = bridge.get("name", "") if bridge is not None else ""
    full = str(network.name())
    active = bool(network.isActive())
    return NetworkView(
        name,
        full,
        str(network.UUIDString()),
        device,
        active,
        tuple(_subnets(root)),
        tuple(_leases(network)) if active else (),
        # The live XML of a guest on a bridge-mode network names only the bridge.
        tuple(sorted((plug for source, plug in plugs if source in (full, device) and source), key=_order)),
    )


def _order(plug: Plug) -> tuple[bool, str, str]:
    """Sort the lab's guests first, then by name."""
    return plug.host is None, plug.domain, plug.dev


def _subnets(root: ET.Element) -> Iterator[str]:
    for element in root.findall("./ip"):
        length = element.get("prefix") or element.get("netmask")
        if element.get("address") and length:
            yield f"{element.get('address')}/{length}"


def _leases(network: Any) -> Iterator[GivenLease]:
    import libvirt

    try:
        leases = network.DHCPLeases()
    except libvirt.libvirtError:  # a network without DHCP
        return
    for lease in leases:
        given = address(lease.get("ipaddr"))
        if given is not None and lease.get("mac"):
            name = str(lease.get("hostname") or "")
            yield GivenLease(str(lease["mac"]).lower(), given, name, integer(lease.get("expirytime")) or 0)


def _plugs(uri: str, lab: str) -> Iterator[tuple[str, Plug]]:
    """Yield each NIC of each running guest, with the network or bridge that it is on."""
    import libvirt

    try:
        connection = connect(uri)
    except HypervisorError:
        return  # no guest can be under a driver that is not there
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            name, xml = str(domain.name()), domain.XMLDesc(0)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue
            raise
        tag = read_tag(xml)
        host = tag.host if tag is not None and tag.lab == lab and tag.fits(name) else None
        for nic in ET.fromstring(xml).findall("./devices/interface"):  # noqa: S314 - libvirt's own output
            source, mac, dev = (_attributes(nic, child) for child in ("source", "mac", "target"))
            where = source.get("network") or source.get("bridge") or ""
            yield where, Plug(name, host, mac.get("address", "").lower(), dev.get("dev", ""))


def _attributes(nic: ET.Element, child: str) -> Mapping[str, str]:
    element = nic.find(child)
    return element.attrib if element is not None else {}
