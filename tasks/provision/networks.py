"""Lab networks in libvirt: read them, and apply their plans."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from labrun.errors import ForeignObjectError
from labrun.hypervisor import networks_of, translated
from labrun.ownership import read_tag
from labrun.tasks.provision.network_state import (
    NetworkPlan,
    NetworkSpec,
    ObservedNetwork,
    Reservation,
    read_network,
)

__all__ = ["apply_network", "observe_networks", "remove_network"]


def observe_networks(connection: Any, lab: str) -> dict[str, ObservedNetwork]:
    """Return every network that carries the lab's tag, by its name in the lab.

    Settings are read from the inactive XML, which applies at the next start, along with those in which the
    running network differs. Raises HypervisorError.
    """
    found: dict[str, ObservedNetwork] = {}
    with translated("networks"):
        for network, xml in networks_of(connection, _inactive_xml):
            tag = read_tag(xml)
            if tag is None or tag.lab != lab:
                continue
            settings, entries, dns = read_network(xml)
            active = bool(network.isActive())
            settings["autostart"] = "yes" if network.isPersistent() and network.autostart() else "no"
            settings["active"] = "yes" if active else "no"
            live = _live(network, settings) if active else {}
            full = network.name()
            name = tag.extra.get("network") or full.removeprefix(f"{lab}-")
            found[name] = ObservedNetwork(full, active, MappingProxyType(settings), entries, dns, tag, live)
    return found


def _live(network: Any, defined: Mapping[str, str]) -> Mapping[str, str]:
    running, _, _ = read_network(network.XMLDesc(0))
    return MappingProxyType({key: text for key, text in running.items() if text != defined[key]})


def _inactive_xml(network: Any) -> str:
    import libvirt

    try:
        return str(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE if network.isPersistent() else 0))
    except libvirt.libvirtError as error:
        # libvirt's in-memory driver keeps a single definition and rejects flags.
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        return str(network.XMLDesc(0))


def _refuse_foreign(connection: Any, lab: str, full_name: str) -> Any:
    """Return the lab's network of that name, None if there is none; raise if it belongs to another lab."""
    import libvirt

    try:
        network = connection.networkLookupByName(full_name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return None
        raise
    tag = read_tag(network.XMLDesc(0))
    if tag is None or tag.lab != lab:
        raise ForeignObjectError(
            f"the network {full_name} exists and is not this lab's",
            step="network",
            hint=f"rename the lab, or look at it with `virsh net-dumpxml {full_name}`",
        )
    return network


def apply_network(connection: Any, spec: NetworkSpec, plan: NetworkPlan) -> None:
    """Carry out a plan. Raises ForeignObjectError and HypervisorError.

    The caller decides about a restart: guests running on the network lose their link.
    """
    with translated(f"network {spec.name}"):
        existing = _refuse_foreign(connection, spec.lab, spec.full_name)
        if plan.action == "none":
            return
        if existing is not None and existing.isActive():
            if plan.action == "update":
                _update_live(existing, spec, plan)
            elif plan.action == "restart":
                existing.destroy()
        xml = spec.xml
        if existing is not None:
            xml = _with_uuid(xml, existing.UUIDString(), existing.XMLDesc(0))
        # Define it even if the network keeps running, since the definition records the applied state.
        existing = connection.networkDefineXML(xml)
        existing.setAutostart(int(spec.autostart))
        if not existing.isActive():
            existing.create()


def _with_uuid(xml: str, uuid: str, before: str) -> str:
    """Keep the UUID, MAC and bridge name of a network that is redefined: they are chosen only once."""
    root = ET.fromstring(xml)  # noqa: S314 - rendered by us
    old = ET.fromstring(before)  # noqa: S314 - libvirt's own output
    element = ET.Element("uuid")
    element.text = uuid
    root.insert(1, element)
    bridge, old_bridge = root.find("bridge"), old.find("bridge")
    if bridge is not None and old_bridge is not None and not bridge.get("name") and old_bridge.get("name"):
        bridge.set("name", old_bridge.get("name", ""))
    mac = old.find("mac")
    if mac is not None:
        root.append(mac)
    return ET.tostring(root, encoding="unicode")


def _update_live(handle: Any, spec: NetworkSpec, plan: NetworkPlan) -> None:
    import libvirt

    live = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
    _, present, names = read_network(handle.XMLDesc(0))
    if "reservations" in plan.changes:
        section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
        wanted = {entry.mac: entry for entry in spec.reservations}
        # Delete first: an address may move between NICs, and two of them may not hold it at once.
        for entry in present:
            if wanted.get(entry.mac) != entry:
                handle.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, _host_xml(entry), live)
        for entry in wanted.values():
            if entry not in present:
                handle.update(
                    libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, _host_xml(entry), live
                )
    if "dns" in plan.changes:
        section = libvirt.VIR_NETWORK_SECTION_DNS_HOST
        wanted_dns = spec.dns
        for item in names:
            if item not in wanted_dns:
                handle.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, _dns_xml(*item), live)
        for item in wanted_dns:
            if item not in names:
                handle.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, _dns_xml(*item), live)


def _host_xml(entry: Reservation) -> str:
    element = ET.Element("host", {"mac": entry.mac, "name": entry.name, "ip": str(entry.address)})
    return ET.tostring(element, encoding="unicode")


def _dns_xml(address: str, names: tuple[str, ...]) -> str:
    element = ET.Element("host", {"ip": address})
    for name in names:
        ET.SubElement(element, "hostname").text = name
    return ET.tostring(element, encoding="unicode")


def remove_network(connection: Any, lab: str, full_name: str) -> bool:
    """Stop and undefine a lab's network; return False if there was none. Raises if it is foreign."""
    with translated(f"network {full_name}"):
        handle = _refuse_foreign(connection, lab, full_name)
        if handle is None:
            return False
        if handle.isActive():
            handle.destroy()
        if handle.isPersistent():
            handle.undefine()
    return True
