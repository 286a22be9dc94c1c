"""The commands that carry out the plan of a network by hand: of a change, those of the change."""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import Any

from labrun.hypervisor import in_daemon_network, translated
from labrun.tasks.guest.scripts import hypervisor_script
from labrun.tasks.provision.network_forms import Entries
from labrun.tasks.provision.network_settings import ENTRIES, HEALTH, LIVE
from labrun.tasks.provision.networks import ANY_RECORD, definition_xml
from labrun.tasks.provision.objects import Planned
from labrun.tasks.provision.reconnect import Tap, can_reconnect, port_xml, taps_on

__all__ = ["network_commands", "reconnect_commands"]

# What has commands of its own.
_SWITCHES = frozenset({"active", "autostart"})
# The words of `virsh net-update` for libvirt's constants.
_SECTIONS = {
    "VIR_NETWORK_SECTION_IP_DHCP_HOST": "ip-dhcp-host",
    "VIR_NETWORK_SECTION_DNS_HOST": "dns-host",
}


def network_commands(connection: Any, uri: str, each: Planned) -> list[str]:
    """Return the commands that carry out a network's plan. Raises HypervisorError."""
    spec, plan, virsh = each.spec, each.plan, f"virsh -c {uri}"
    name = spec.full_name
    if plan.action == "none":
        return []
    if each.seen is None:
        lines = [_define(virsh, spec.xml), *_autostart(virsh, name, spec.want["autostart"])]
        return [*lines, f"{virsh} net-start {name}"]
    with translated(f"network {spec.name}"):
        network = connection.networkLookupByName(name)
        is_active, is_kept = bool(network.isActive()), bool(network.isPersistent())
    differences = plan.item.differences
    lines = []
    if plan.action == "restart" or not is_active:
        if not is_kept or differences.keys() - HEALTH - _SWITCHES:
            lines.append(_define(virsh, definition_xml(spec, network)))
        if "firewall" in differences:
            prefix = _prefix(uri)
            lines.append(f"{prefix}sh -s <<'SH'\n{hypervisor_script('libvirt_chains')}SH")
        lines += [f"{virsh} net-destroy {name}"] if is_active else []
        lines.append(f"{virsh} net-start {name}")
        if can_reconnect(uri):
            with translated("network"):
                bridge = _bridge(network)
            lines += reconnect_commands(uri, taps_on(uri, name), bridge)
    else:
        defined = each.seen.defined
        for key in ENTRIES.keys() & differences.keys():
            now, then = each.seen.have.get(key, "").split(), defined.get(key, "").split()
            lines += _updates(virsh, name, ENTRIES[key], spec.want[key].split(), now, then)
        # A transient network, or a definition that somebody changed beside the running one.
        if not is_kept or differences.keys() - LIVE - HEALTH:
            lines.append(_define(virsh, definition_xml(spec, network)))
        if "dnsmasq" in differences:
            lines += _new_dnsmasq(virsh, name, differences["dnsmasq"].now)
    if "autostart" in differences or not is_kept:
        lines += _autostart(virsh, name, spec.want["autostart"], off=True)
    return lines


def reconnect_commands(uri: str, taps: Iterable[Tap], bridge: str) -> list[str]:
    """Return the commands that connect taps to a network that was restarted."""
    lines = []
    for tap in taps:
        lines.append(f"virsh -c {uri} net-port-create {tap.network} /dev/stdin <<'XML'\n{port_xml(tap)}XML")
        if bridge:
            lines.append(f"{_prefix(uri)}ip link set dev {tap.device} master {bridge} up")
    return lines


def _prefix(uri: str) -> str:
    return "".join(f"{word} " for word in in_daemon_network(uri))


def _bridge(network: Any) -> str:
    import libvirt

    try:
        return str(network.bridgeName())
    except libvirt.libvirtError:
        # Macvtap: the device of a NIC stands on the hypervisor's by itself.
        return ""


def _define(virsh: str, xml: str) -> str:
    return f"{virsh} net-define /dev/stdin <<'XML'\n{xml.rstrip()}\nXML"


def _autostart(virsh: str, name: str, wanted: str, *, off: bool = False) -> list[str]:
    if wanted == "yes":
        return [f"{virsh} net-autostart {name}"]
    return [f"{virsh} net-autostart {name} --disable"] if off else []


def _new_dnsmasq(virsh: str, name: str, fault: str) -> list[str]:
    lines = [f"kill -CONT $(cat /run/libvirt/network/{name}.pid)"] if fault == "stopped" else []
    record = shlex.quote(ANY_RECORD)
    # Any change of a TXT record makes libvirt restart the network's dnsmasq.
    return lines + [f"{virsh} net-update {name} {verb} dns-txt {record} --live" for verb in ("add", "delete")]


def _updates(
    virsh: str, name: str, entries: Entries, wanted: list[str], now: list[str], then: list[str]
) -> Iterator[str]:
    section = _SECTIONS[entries.section]
    gone = [word for word in dict.fromkeys(now + then) if word not in wanted]
    for verb, words, lacks in (("delete", gone, False), ("add-last", wanted, True)):
        for word in words:
            sides = {"--live": (word in now) != lacks, "--config": (word in then) != lacks}
            flags = " ".join(flag for flag, is_due in sides.items() if is_due)
            if flags:
                element = entries.element(word)
                element = element if lacks else entries.to_delete(element)
                yield f"{virsh} net-update {name} {verb} {section} {_quoted(element)} {flags}"


def _quoted(element: ET.Element) -> str:
    element.attrib = {key: text for key, text in element.attrib.items() if text}
    return shlex.quote(ET.tostring(element, encoding="unicode"))
