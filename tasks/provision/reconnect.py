"""Connect running guests to a network that was restarted, without unplugging their NICs.

A network that stops deletes its bridge and its ports, but the guests' taps stay. A port with the UUID that
the domain has on record and a tap back in the bridge are all that a guest's link needs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, translated
from labrun.tasks.provision.driver_registry import lab_drivers
from labrun.tasks.provision.hypervisor_network import (
    HypervisorNetwork,
    hypervisor_network,
    makes_devices,
    run_ip,
)

__all__ = ["Tap", "can_reconnect", "loose_nics", "port_xml", "reconnect", "taps_of", "taps_on"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tap:
    """The hypervisor's end of a running domain's NIC: its device there, and its port of the network."""

    domain: str
    uuid: str
    mac: str
    network: str
    device: str
    port: str


def can_reconnect(uri: str) -> bool:
    """Tell whether this process can put taps into the bridges of the libvirtd behind ``uri``."""
    return os.geteuid() == 0 and makes_devices(uri)


def taps_of(domain: Any) -> tuple[Tap, ...]:
    """Return the taps of a running domain that are on libvirt's networks. Raises libvirtError."""
    xml, name, uuid = domain.XMLDesc(0), domain.name(), domain.UUIDString()
    found = []
    for nic in ET.fromstring(xml).iterfind("./devices/interface"):  # noqa: S314 - libvirt's own output
        source, target, mac = nic.find("source"), nic.find("target"), nic.find("mac")
        if source is None or target is None or mac is None:
            continue
        network, port, device = source.get("network"), source.get("portid"), target.get("dev")
        if network and port and device:
            found.append(Tap(name, uuid, mac.get("address", "").lower(), network, device, port))
    return tuple(found)


def taps_on(uri: str, network: str) -> tuple[Tap, ...]:
    """Return the taps of anybody's running domains on a network, by its libvirt name.

    Raises HypervisorError.
    """
    return tuple(tap for domain in _running(uri) for tap in _taps(domain) if tap.network == network)


def _running(uri: str) -> Iterator[Any]:
    import libvirt

    for _, driver_uri in lab_drivers(uri):
        try:
            connection = connect(driver_uri)
        except HypervisorError:
            # No machine can be under a driver that is not there.
            continue
        with translated("network"):
            yield from connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)


def _taps(domain: Any) -> tuple[Tap, ...]:
    import libvirt

    with translated("network"):
        try:
            return taps_of(domain)
        except libvirt.libvirtError as error:
            # It stopped in the meantime.
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return ()
            raise


def reconnect(connection: Any, uri: str, taps: Iterable[Tap]) -> None:
    """Give each tap its port and its bridge again, where it lacks one; what fails is left to be replugged.

    ``can_reconnect`` has to be true of ``uri``.
    """
    import libvirt

    wanted = list(taps)
    if not wanted:
        return
    here = hypervisor_network(uri)
    links, up = (here.links, here.up) if here is not None else ({}, frozenset())
    for tap in wanted:
        try:
            network = connection.networkLookupByName(tap.network)
            _ensure_port(network, tap)
            bridge = network.bridgeName()
        except libvirt.libvirtError as error:
            # Networks without a bridge (macvtap) keep the device itself.
            _log.info("%s: NIC %s: %s", tap.domain, tap.mac, error)
            continue
        if tap.device not in links or bridge not in links:
            continue
        if links[tap.device].port_of != bridge or tap.device not in up:
            _into_bridge(tap, bridge, links[bridge].mtu)


def _ensure_port(network: Any, tap: Tap) -> None:
    import libvirt

    try:
        network.portLookupByUUIDString(tap.port)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK_PORT:
            raise
        network.portCreateXML(port_xml(tap), 0)


def _into_bridge(tap: Tap, bridge: str, mtu: int | None) -> None:
    size = ("mtu", str(mtu)) if mtu else ()
    if complaint := run_ip("link", "set", "dev", tap.device, "master", bridge, *size, "up"):
        _log.warning("%s: %s cannot join %s: %s", tap.domain, tap.device, bridge, complaint)


def loose_nics(connection: Any, domain: Any, here: HypervisorNetwork | None) -> frozenset[str]:
    """Return the MACs of a running domain's NICs whose taps are down or not in their network's bridge.

    ``here`` None = that cannot be seen. Raises libvirtError.
    """
    import libvirt

    found: set[str] = set()
    if here is None:
        return frozenset()
    for tap in taps_of(domain):
        with contextlib.suppress(libvirt.libvirtError):
            # Without that network, or without a bridge, there is nothing to say.
            bridge = connection.networkLookupByName(tap.network).bridgeName()
            link = here.links.get(tap.device)
            if link is not None and (link.port_of != bridge or tap.device not in here.up):
                found.add(tap.mac)
    return frozenset(found)


def port_xml(tap: Tap) -> str:
    """Return the XML of a tap's port, which libvirt completes with the network's bridge."""
    root = ET.Element("networkport")
    ET.SubElement(root, "uuid").text = tap.port
    owner = ET.SubElement(root, "owner")
    ET.SubElement(owner, "name").text = tap.domain
    ET.SubElement(owner, "uuid").text = tap.uuid
    ET.SubElement(root, "mac", {"address": tap.mac})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
