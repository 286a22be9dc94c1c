"""What libvirt leaves of a network that it could not start, and who takes it back."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from ipaddress import ip_interface
from typing import Any

from labrun.tasks.guest.scripts import assigned, hypervisor_script
from labrun.tasks.provision.network_health import end_dnsmasq
from labrun.tasks.provision.reconnect import can_reconnect

__all__ = ["take_back_half_started"]

_SECONDS = 60


def take_back_half_started(connection: Any, network: Any) -> None:
    """Remove the bridge, rules and dnsmasq of a network whose start has failed.

    libvirt does so itself, but not when a hook fails that it runs once the network has started: then the
    network is inactive, and its bridge keeps the address, which no network can have again. Raises
    libvirtError.
    """
    import libvirt

    if network.isActive() or not can_reconnect(connection.getURI()):
        return
    root = ET.fromstring(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))  # noqa: S314 - libvirt's own output
    bridge, mac = root.find("bridge"), root.find("mac")
    if bridge is None or mac is None:
        return
    end_dnsmasq(network.name())
    addresses = [(each.get("address"), each.get("prefix") or each.get("netmask")) for each in root.iter("ip")]
    subnets = [
        ip_interface(f"{address}/{length}").network for address, length in addresses if address and length
    ]
    values = {
        "bridge": bridge.get("name", ""),
        "mac": mac.get("address", ""),
        "subnets": " ".join(map(str, subnets)),
    }
    script = assigned(values) + hypervisor_script("half_started")
    subprocess.run(["sh", "-s"], input=script, text=True, capture_output=True, timeout=_SECONDS, check=False)
