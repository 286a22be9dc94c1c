"""A network's settings: what the lab file asks for, how it is written into XML, and how it is read there.

Each is declared once: what is rendered, read back and compared is the same table.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from labrun.inventory.model import Lab, Mode, Network
from labrun.tasks.provision.network_forms import (
    Attributes,
    Bridge,
    BridgeName,
    Device,
    Entries,
    Form,
    Subnet,
    in_order,
)

__all__ = [
    "ENTRIES",
    "HEALTH",
    "HEALTHY",
    "LIVE",
    "SETTINGS",
    "add_settings",
    "parsed",
    "read_settings",
    "wanted_settings",
]

HEALTHY = "ok"
"""The text of what keeps a network working and is not part of its XML, if nothing is wrong with it."""

_FORWARD = {
    Mode.NAT: "nat",
    Mode.ROUTE: "route",
    Mode.OPEN: "open",
    Mode.BRIDGE: "bridge",
    Mode.MACVTAP: "bridge",
}


def _reservation(mac: str, address: str, name: str) -> str:
    return f"{mac.lower()}={address}/{name}"


def _reservation_word(element: ET.Element) -> str:
    mac, address = element.get("mac"), element.get("ip")
    return _reservation(mac, address, element.get("name", "")) if mac and address else ""


def _reservation_element(word: str) -> ET.Element:
    mac, _, rest = word.partition("=")
    address, _, name = rest.partition("/")
    return ET.Element("host", {"mac": mac, **({"name": name} if name else {}), "ip": address})


def _reservations(lab: Lab, network: Network) -> str:
    """Return one reservation per NIC on the network, static ones included; none without DHCP.

    A static NIC needs none, but a reservation keeps its address from being leased to another host, and
    provides it again while the host boots by DHCP. The host's name is that of its first NIC there: libvirt
    takes a name once.
    """
    if network.dhcp is None:
        return ""
    return in_order(
        _reservation(nic.mac, str(nic.ipv4.ip), host.name if nic == host.nics_on(network.name)[0] else "")
        for host, nic in lab.members(network.name)
        if nic.ipv4 is not None and host.machine is not None
    )


def _reservation6_word(element: ET.Element) -> str:
    return f"{element.get('name', '')}={element.get('ip', '')}"


def _reservation6_element(word: str) -> ET.Element:
    name, _, address = word.partition("=")
    return ET.Element("host", {"name": name, "ip": address})


def _reservations6(lab: Lab, network: Network) -> str:
    """Return one DHCPv6 reservation per host that asks for one, by the name that its client sends.

    libvirt takes no MACs there, and a client's DUID is not known before it has booted.
    """
    return in_order(
        f"{host.name}={nic.ipv6.ip}"
        for host, nic in lab.members(network.name)
        if network.dhcp6 is not None and nic.ipv6_method == "dhcp" and nic.ipv6 is not None
    )


def _dns_entry(address: str, names: Iterable[str]) -> str:
    return f"{address}={','.join(sorted(names))}"


def _dns_word(element: ET.Element) -> str:
    return _dns_entry(element.get("ip", ""), (name.text or "" for name in element.findall("hostname")))


def _dns_element(word: str) -> ET.Element:
    address, _, names = word.partition("=")
    element = ET.Element("host", {"ip": address})
    for name in names.split(","):
        ET.SubElement(element, "hostname").text = name
    return element


def _dns(lab: Lab, network: Network) -> str:
    """Return the names that the network's DNS server answers for: its hosts' and the file's."""
    if not network.is_served:
        return ""
    found: dict[str, set[str]] = {}
    for host, nic in lab.members(network.name):
        for address in nic.addresses:
            found.setdefault(str(address.ip), set()).add(host.name)
    for name, text in network.dns.items():
        found.setdefault(text, set()).add(name)
    return in_order(_dns_entry(address, names) for address, names in found.items())


# Only running networks show libvirt's default, and do so whether it was declared or not.
_ALL_PORTS = "1024-65535"


def _nat_ports(network: Network) -> str:
    text = "-".join(map(str, network.nat_ports or ()))
    return "" if text == _ALL_PORTS else text


class Setting(NamedTuple):
    """One setting: the text that the lab file asks for, and its form in XML; None = libvirt keeps it apart.

    ``live`` = libvirt changes it in a running network; for any other the network has to be restarted.
    """

    wanted: Callable[[Lab, Network], str]
    form: Form | None
    live: bool = False


def _own(value: Callable[[Network], object]) -> Callable[[Lab, Network], str]:
    return lambda _lab, network: str(value(network) or "")


_IPV4 = "ip[@family='ipv4']"
_IPV6 = "ip[@family='ipv6']"
SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "forward": Setting(_own(lambda its: _FORWARD.get(its.mode)), Attributes("forward", "mode")),
        # Without it, libvirt routes IPv6 there, and guests would be seen with their own addresses.
        "nat6": Setting(
            _own(lambda its: "yes" if its.mode is Mode.NAT and its.hypervisor6 is not None else ""),
            Attributes("forward/nat", "ipv6", default="no"),
        ),
        "ipv4": Setting(_own(lambda its: its.hypervisor4), Subnet("ipv4")),
        "ipv6": Setting(_own(lambda its: its.hypervisor6), Subnet("ipv6")),
        "dhcp": Setting(
            _own(lambda its: its.dhcp and f"{its.dhcp.first}-{its.dhcp.last}"),
            Attributes(f"{_IPV4}/dhcp/range", "start", "end"),
        ),
        "domain": Setting(_own(lambda its: its.domain), Attributes("domain", "name", localOnly="yes")),
        "mtu": Setting(_own(lambda its: its.mtu), Attributes("mtu", "size")),
        "dev": Setting(_own(lambda its: its.dev), Device()),
        "bridge": Setting(_own(lambda its: its.bridge), Bridge()),
        "bridge_name": Setting(_own(lambda its: its.bridge_name), BridgeName()),
        "nat_ports": Setting(
            _own(_nat_ports), Attributes("forward/nat/port", "start", "end", default=_ALL_PORTS)
        ),
        "reservations": Setting(
            _reservations,
            Entries(
                f"{_IPV4}/dhcp/host",
                "VIR_NETWORK_SECTION_IP_DHCP_HOST",
                _reservation_word,
                _reservation_element,
            ),
            live=True,
        ),
        "dhcp6": Setting(
            _own(lambda its: its.dhcp6 and f"{its.dhcp6[0]}-{its.dhcp6[1]}"),
            Attributes(f"{_IPV6}/dhcp/range", "start", "end"),
        ),
        "reservations6": Setting(
            _reservations6,
            Entries(
                f"{_IPV6}/dhcp/host",
                "VIR_NETWORK_SECTION_IP_DHCP_HOST",
                _reservation6_word,
                _reservation6_element,
            ),
            live=True,
        ),
        "dns": Setting(
            _dns,
            # A host with IPv4 and IPv6 has its name in two of them.
            Entries("dns/host", "VIR_NETWORK_SECTION_DNS_HOST", _dns_word, _dns_element, key="ip"),
            live=True,
        ),
        "autostart": Setting(lambda _lab, network: "yes" if network.autostart else "no", None, live=True),
        "active": Setting(lambda _lab, _network: "yes", None, live=True),
        "dnsmasq": Setting(lambda _lab, _network: HEALTHY, None, live=True),
        "device": Setting(lambda _lab, _network: HEALTHY, None),
        "firewall": Setting(lambda _lab, _network: HEALTHY, None),
    }
)
"""All of them, in the order in which they are shown."""
ENTRIES: Mapping[str, Entries] = MappingProxyType(
    {key: setting.form for key, setting in SETTINGS.items() if isinstance(setting.form, Entries)}
)
HEALTH = frozenset({"dnsmasq", "device", "firewall"})
"""What the lab file always asks for, so that nobody has to remember that it was applied."""
LIVE = frozenset(key for key, setting in SETTINGS.items() if setting.live)


def wanted_settings(lab: Lab, network: Network) -> dict[str, str]:
    """Return the settings that the lab file asks for."""
    return {key: setting.wanted(lab, network) for key, setting in SETTINGS.items()}


def add_settings(root: ET.Element, settings: Mapping[str, str]) -> None:
    """Write settings into the XML of a network that has none of them yet."""
    for key, setting in SETTINGS.items():
        if setting.form is not None:
            setting.form.write(root, settings[key])


def parsed(xml: str) -> ET.Element:
    """Return the XML of a network with what libvirt leaves out: the family of IPv4 subnets."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    for subnet in root.findall("ip"):
        subnet.set("family", subnet.get("family", "ipv4"))
    return root


def read_settings(xml: str) -> dict[str, str]:
    """Return the settings that stand in a network's XML."""
    root = parsed(xml)
    return {key: setting.form.read(root) for key, setting in SETTINGS.items() if setting.form is not None}
