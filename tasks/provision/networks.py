"""Lab networks in libvirt: what they should be, what they are, and how they become it."""

from __future__ import annotations

import contextlib
import subprocess
import xml.etree.ElementTree as ET
from typing import Any

from labrun.hypervisor import is_local, networks_of, translated
from labrun.inventory.model import Lab, Network
from labrun.ownership import Tag, read_tag, tag_element
from labrun.tasks.guest.scripts import hypervisor_script
from labrun.tasks.provision.half_started import take_back_half_started
from labrun.tasks.provision.hypervisor_network import HypervisorNetwork, hypervisor_network, makes_devices
from labrun.tasks.provision.kept_rules import forget_rules
from labrun.tasks.provision.libvirt_hooks import starting
from labrun.tasks.provision.network_forms import Entries, is_chosen
from labrun.tasks.provision.network_health import network_health, wake_dnsmasq
from labrun.tasks.provision.network_settings import (
    ENTRIES,
    HEALTH,
    LIVE,
    add_settings,
    parsed,
    read_settings,
    wanted_settings,
)
from labrun.tasks.provision.objects import Observed, Plan, Spec, item_of, plan_of, yes_or_no
from labrun.tasks.provision.owned import APPLIED, Kind, find_own, record_of, tagged_for
from labrun.tasks.provision.reconnect import can_reconnect, reconnect, taps_on

__all__ = [
    "ANY_RECORD",
    "apply_network",
    "definition_xml",
    "network_spec",
    "observe_networks",
    "plan_network",
    "remove_network",
]

_STARTS = 5
# Put into a network and taken out again: libvirt restarts its dnsmasq for it.
ANY_RECORD = "<txt name='labrun-restart' value='1'/>"
_KIND = Kind(
    "network",
    "network",
    "networkLookupByName",
    "VIR_ERR_NO_NETWORK",
    "rename the lab, or inspect it with",
    "net-dumpxml",
)


def network_spec(lab: Lab, network: Network, uri: str) -> Spec:
    """Return the spec of a network, tagged as the lab's.

    ``uri`` is the lab's hypervisor; it goes into the tag so that ``hypervisor: auto`` stays there.
    """
    want, full_name = wanted_settings(lab, network), lab.libvirt_name(network.name)
    record = record_of({key: text for key, text in want.items() if key not in HEALTH})
    extra = {"network": network.name, "hypervisor": uri, APPLIED: record}
    root = ET.Element("network")
    ET.SubElement(root, "name").text = full_name
    ET.SubElement(root, "metadata").append(tag_element(Tag(lab.name, digest=lab.digest, extra=extra)))
    add_settings(root, want)
    ET.indent(root)
    return Spec(lab.name, network.name, full_name, want, ET.tostring(root, encoding="unicode") + "\n")


def observe_networks(connection: Any, lab: str) -> dict[str, Observed]:
    """Return every network that carries the lab's tag, by its name in the lab. Raises HypervisorError."""
    found: dict[str, Observed] = {}
    here: HypervisorNetwork | None = None
    with translated("networks"):
        for network, xml in networks_of(connection, _inactive_xml):
            tag = read_tag(xml)
            full = network.name()
            if tag is None or tag.lab != lab or not tag.fits(full):
                continue
            active = bool(network.isActive())
            switches = {
                "autostart": yes_or_no(network.isPersistent() and network.autostart()),
                "active": yes_or_no(active),
            }
            defined = read_settings(xml)
            live = network.XMLDesc(0) if active else xml
            if active and here is None and makes_devices(connection.getURI()):
                here = hypervisor_network(connection.getURI(), with_rules=True)
            running = read_settings(live)
            health = network_health(full, live, here if active else None)
            later = {key: text for key, text in defined.items() if text != running[key]}
            name = tag.extra.get("network") or full.removeprefix(f"{lab}-")
            found[name] = Observed(full, {**running, **switches, **health}, later, tag)
    return found


def _inactive_xml(network: Any) -> str:
    import libvirt

    try:
        return str(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE if network.isPersistent() else 0))
    except libvirt.libvirtError as error:
        # libvirt's in-memory driver keeps a single definition and rejects flags.
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        return str(network.XMLDesc(0))


def plan_network(spec: Spec, seen: Observed | None) -> Plan:
    """Return the plan of a network. If only its definition differs, it is corrected while it runs."""
    item = item_of(spec.name, spec.want, seen)
    running = {key for key in item.differences if item.have.get(key, "") != item.want[key]}
    in_place = running <= LIVE or item.have.get("active") != "yes"
    return plan_of(item, "update" if in_place else "restart")


def apply_network(connection: Any, spec: Spec, plan: Plan) -> None:
    """Carry out a plan. Raises ForeignObjectError and HypervisorError.

    The caller decides about a restart: where this process cannot reconnect the guests that run on the
    network, they lose their link. A network that is new and cannot be started is removed again.
    """
    uri = connection.getURI()
    with translated(f"network {spec.name}"):
        existing = find_own(connection, _KIND, spec.full_name, tagged_for(spec.lab))
        if plan.action == "none":
            return
        is_new = existing is None
        if "firewall" in plan.item.differences:
            _put_chains_back(uri)
        if "dnsmasq" in plan.item.differences and can_reconnect(uri):
            wake_dnsmasq(spec.full_name)
        if existing is not None and existing.isActive():
            if plan.action == "update":
                for key in ENTRIES.keys() & plan.item.differences.keys():
                    _update_live(existing, ENTRIES[key], spec.want[key].split())
                if "dnsmasq" in plan.item.differences:
                    _revive_dnsmasq(existing)
            elif plan.action == "restart":
                existing.destroy()
        if is_new and is_local(uri):
            # Those of one that was removed without labrun name its bridge, and would fail this one's start.
            with contextlib.suppress(OSError):
                forget_rules(f"labrun/{spec.lab}/forward/{spec.name}")
        xml = spec.xml if existing is None else definition_xml(spec, existing)
        # Define it even if the network keeps running, since the definition records the applied state.
        existing = connection.networkDefineXML(xml)
        existing.setAutostart(int(spec.want["autostart"] == "yes"))
        if existing.isActive():
            return
        try:
            with starting():
                _start(connection, existing, spec)
        except BaseException:
            _take_back(connection, spec.full_name, is_new=is_new)
            raise
        if can_reconnect(uri):
            # Whoever ran on it before, this lab's or not, is on it again.
            reconnect(connection, uri, taps_on(uri, spec.full_name))


def _start(connection: Any, network: Any, spec: Spec) -> None:
    import libvirt

    for attempt in range(_STARTS):
        try:
            network.create()
            return
        except libvirt.libvirtError as error:
            if attempt == _STARTS - 1:
                raise
            if "No chain/target/match" in str(error) and _put_chains_back(connection.getURI()):
                continue
            if "error creating bridge interface" not in str(error):
                raise
        # Networks that are made at once may be given the same bridge name: without one, libvirt chooses
        # again.
        root = ET.fromstring(spec.xml)  # noqa: S314 - rendered by us
        old = parsed(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
        root.extend(element for element in (old.find("uuid"), old.find("mac")) if element is not None)
        network = connection.networkDefineXML(ET.tostring(root, encoding="unicode"))


def _take_back(connection: Any, full_name: str, *, is_new: bool) -> None:
    import libvirt

    with contextlib.suppress(libvirt.libvirtError):
        network = connection.networkLookupByName(full_name)
        take_back_half_started(connection, network)
        if is_new:
            network.undefine()


def _put_chains_back(uri: str) -> bool:
    """Create libvirt's chains of iptables where somebody removed them; return whether it was tried."""
    if not can_reconnect(uri):
        return False
    subprocess.run(
        ["sh", "-s"], input=hypervisor_script("libvirt_chains"), text=True, capture_output=True, check=False
    )
    return True


def _revive_dnsmasq(network: Any) -> None:
    """Have libvirt restart the network's dnsmasq: it does for any change of a TXT record."""
    import libvirt

    live, section = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, libvirt.VIR_NETWORK_SECTION_DNS_TXT
    delete = libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
    with contextlib.suppress(libvirt.libvirtError):
        # A run that was killed may have left it.
        network.update(delete, section, -1, ANY_RECORD, live)
    for command in (libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, delete):
        network.update(command, section, -1, ANY_RECORD, live)


def definition_xml(spec: Spec, existing: Any) -> str:
    """Return the XML to redefine a network with: its UUID, MAC and bridge name are chosen only once."""
    root = ET.fromstring(spec.xml)  # noqa: S314 - rendered by us
    old = ET.fromstring(existing.XMLDesc(0))  # noqa: S314 - libvirt's own output
    element = ET.Element("uuid")
    element.text = existing.UUIDString()
    root.insert(1, element)
    bridge, old_bridge = root.find("bridge"), old.find("bridge")
    name = "" if old_bridge is None else old_bridge.get("name", "")
    if bridge is not None and not bridge.get("name") and is_chosen(name):
        bridge.set("name", name)
    mac = old.find("mac")
    if mac is not None:
        root.append(mac)
    return ET.tostring(root, encoding="unicode")


def _update_live(network: Any, entries: Entries, wanted: list[str]) -> None:
    import libvirt

    there = {entries.word(each): each for each in parsed(network.XMLDesc(0)).findall(entries.path)}
    # Delete first: an address may move between NICs, and two of them may not hold it at once.
    gone = [entries.to_delete(each) for word, each in there.items() if word and word not in wanted]
    new = [entries.element(word) for word in wanted if word not in there]
    steps = [(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, each) for each in gone]
    steps += [(libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, each) for each in new]
    section, live = getattr(libvirt, entries.section), libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
    index = _index_of_subnet(parsed(network.XMLDesc(0)), entries.path)
    for command, element in steps:
        network.update(command, section, index, ET.tostring(element, encoding="unicode"), live)


def _index_of_subnet(root: ET.Element, path: str) -> int:
    """Return the index of the ``<ip>`` that a path goes through, -1 for the others."""
    own = root.find(path.partition("/")[0]) if path.startswith("ip[") else None
    return -1 if own is None else root.findall("ip").index(own)


def remove_network(connection: Any, lab: str, full_name: str) -> bool:
    """Stop and undefine a lab's network; return False if there was none. Raises if it is foreign."""
    with translated(f"network {full_name}"):
        handle = find_own(connection, _KIND, full_name, tagged_for(lab))
        if handle is None:
            return False
        if handle.isActive():
            handle.destroy()
        if handle.isPersistent():
            handle.undefine()
    return True
