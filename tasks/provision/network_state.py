"""Lab networks as values: what the file asks for, what libvirt's XML says, and the difference."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from types import MappingProxyType
from typing import Any

from labrun.inventory.model import DhcpRange, Lab, Mode, Network
from labrun.ownership import Tag, tag_element
from labrun.rendering import render_xml
from labrun.tasks.provision.applied_tag import APPLIED, remember

__all__ = [
    "NetworkPlan",
    "NetworkSpec",
    "ObservedNetwork",
    "Reservation",
    "network_spec",
    "plan_network",
    "read_network",
    "reservations",
]

_FORWARD = {
    Mode.NAT: "nat",
    Mode.ROUTE: "route",
    Mode.OPEN: "open",
    Mode.BRIDGE: "bridge",
    Mode.MACVTAP: "bridge",
}
DnsHosts = tuple[tuple[str, tuple[str, ...]], ...]
"""Addresses with their names, sorted."""

# The settings that libvirt changes in a running network; everything else needs a restart of it.
_LIVE = frozenset({"reservations", "dns", "autostart", "active"})


@dataclass(frozen=True, slots=True)
class Reservation:
    """A DHCP reservation: this NIC always gets this address and name."""

    mac: str
    address: IPv4Address
    name: str


@dataclass(frozen=True, slots=True)
class ObservedNetwork:
    """A network with the lab's tag, in the form of NetworkSpec.settings.

    ``settings`` are those of its definition, ``live`` those in which the running network differs.
    """

    name: str
    active: bool
    settings: Mapping[str, str]
    reservations: tuple[Reservation, ...] = ()
    dns: DnsHosts = ()
    tag: Tag | None = None
    live: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Everything that defines one network, as plain values without a lab or a connection.

    ``name`` is the name in the lab, ``full_name`` the one in libvirt; ``settings`` are comparable text.
    """

    lab: str
    name: str
    full_name: str
    xml: str
    settings: Mapping[str, str]
    reservations: tuple[Reservation, ...] = ()
    dns: DnsHosts = ()
    autostart: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return plain values, for a Nornir host's data."""
        return {
            "lab": self.lab,
            "name": self.name,
            "full_name": self.full_name,
            "xml": self.xml,
            "settings": dict(self.settings),
            "reservations": [[entry.mac, str(entry.address), entry.name] for entry in self.reservations],
            "dns": [[address, list(names)] for address, names in self.dns],
            "autostart": self.autostart,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NetworkSpec:
        """Return the spec that :meth:`as_json` wrote."""
        entries = (
            Reservation(mac, IPv4Address(address), name) for mac, address, name in data["reservations"]
        )
        dns = tuple((address, tuple(names)) for address, names in data["dns"])
        return cls(**{**data, "reservations": tuple(entries), "dns": dns})


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """The plan for one network.

    ``action`` is ``none``, ``create``, ``update`` (in place), ``restart`` (stop, redefine, start) or
    ``remove``; ``changes`` maps each setting that differs to (now, wanted); ``observed`` is the current
    network.
    """

    name: str
    action: str
    changes: Mapping[str, tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    observed: ObservedNetwork | None = None

    def diff(self) -> str | None:
        """Return the changes as ``-``/``+`` lines, None if there are none."""
        lines: list[str] = []
        for key, (now, wanted) in self.changes.items():
            if now:
                lines.append(f"- {key}: {now}")
            if wanted:
                lines.append(f"+ {key}: {wanted}")
        return "\n".join(lines) or None


def reservations(lab: Lab, network: Network) -> tuple[Reservation, ...]:
    """Return one reservation per host on the network, static hosts included; none without DHCP.

    A static host needs none, but a reservation keeps its address from being leased to another host, and
    provides it again while the host boots by DHCP.
    """
    if network.dhcp is None:
        return ()
    return tuple(
        Reservation(nic.mac, nic.ipv4.ip, host.name)
        for host, nic in lab.members(network.name)
        if nic.ipv4 is not None and host.machine is not None
    )


def dns_hosts(lab: Lab, network: Network) -> DnsHosts:
    """Return the names that the network's DNS server answers for: its hosts' and the file's."""
    if not network.mode.has_hypervisor_address:
        return ()
    names: dict[str, list[str]] = {}
    for host, nic in lab.members(network.name):
        for address in (nic.ipv4, nic.ipv6):
            if address is not None:
                names.setdefault(str(address.ip), []).append(host.name)
    for name, address_text in network.dns.items():
        known = names.setdefault(address_text, [])
        if name not in known:
            known.append(name)
    return tuple(sorted((address, tuple(sorted(found))) for address, found in names.items()))


def _reservation_text(found: tuple[Reservation, ...]) -> str:
    return " ".join(sorted(f"{entry.mac}={entry.address}/{entry.name}" for entry in found))


def _dns_text(entries: DnsHosts) -> str:
    return " ".join(f"{address}={','.join(names)}" for address, names in entries)


_OWN_NAT_PORTS = (1024, 65535)


def _settings(
    *,
    forward: str,
    ip4: IPv4Interface | None,
    ip6: IPv6Interface | None,
    dhcp: DhcpRange | None,
    domain: str | None,
    mtu: int | None,
    device: str | None,
    bridge: str | None,
    nat_ports: tuple[int, int] | None,
) -> dict[str, str]:
    return {
        "forward": forward,
        "ipv4": str(ip4 or ""),
        "ipv6": str(ip6 or ""),
        "dhcp": f"{dhcp.first}-{dhcp.last}" if dhcp else "",
        "domain": domain or "",
        "mtu": str(mtu or ""),
        "dev": device or "",
        "bridge": bridge or "",
        # Only running networks show libvirt's default, and do so whether it was declared or not.
        "nat_ports": f"{nat_ports[0]}-{nat_ports[1]}" if nat_ports and nat_ports != _OWN_NAT_PORTS else "",
    }


def _desired_settings(lab: Lab, network: Network) -> dict[str, str]:
    settings = _settings(
        forward=_FORWARD.get(network.mode, ""),
        ip4=network.hypervisor4,
        ip6=network.hypervisor6,
        dhcp=network.dhcp,
        domain=network.domain,
        # A bridge made outside libvirt, or a NIC, keeps the MTU that its owner set.
        mtu=None if network.mode in (Mode.BRIDGE, Mode.MACVTAP) else network.mtu,
        device=network.dev,
        bridge=network.bridge if network.mode is Mode.BRIDGE else None,
        nat_ports=network.nat_ports,
    )
    settings["reservations"] = _reservation_text(reservations(lab, network))
    settings["dns"] = _dns_text(dns_hosts(lab, network))
    settings["autostart"] = "yes" if network.autostart else "no"
    settings["active"] = "yes"
    return settings


def network_spec(lab: Lab, network: Network, uri: str) -> NetworkSpec:
    """Return the spec of a network, tagged as the lab's.

    ``uri`` is the lab's hypervisor; it goes into the tag so that ``hypervisor: auto`` stays there.
    """
    settings = _desired_settings(lab, network)
    return NetworkSpec(
        lab=lab.name,
        name=network.name,
        full_name=lab.libvirt_name(network.name),
        xml=_network_xml(lab, network, uri, settings),
        settings=MappingProxyType(settings),
        reservations=reservations(lab, network),
        dns=dns_hosts(lab, network),
        autostart=network.autostart,
    )


def _network_xml(lab: Lab, network: Network, uri: str, settings: Mapping[str, str]) -> str:
    macvtap = network.mode is Mode.MACVTAP
    extra = {"network": network.name, "hypervisor": uri, APPLIED: remember(settings)}
    return render_xml(
        "libvirt/network.xml.j2",
        name=lab.libvirt_name(network.name),
        tag=tag_element(Tag(lab.name, digest=lab.digest, extra=extra)),
        forward=_FORWARD.get(network.mode, ""),
        dev=network.dev,
        macvtap=macvtap,
        nat_ports=network.nat_ports if network.mode is Mode.NAT else None,
        bridge=network.bridge if network.mode is Mode.BRIDGE else None,
        mtu=network.mtu,
        domain=network.domain,
        dns=dns_hosts(lab, network),
        ip4=network.hypervisor4,
        ip6=network.hypervisor6,
        dhcp=network.dhcp,
        reservations=reservations(lab, network),
    )


def read_network(xml: str) -> tuple[dict[str, str], tuple[Reservation, ...], DnsHosts]:
    """Return settings, reservations and DNS entries of a network's XML."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    forward = root.find("forward")
    kind = "" if forward is None else forward.get("mode", "nat")
    device = None
    if forward is not None:
        inner = forward.find("interface")
        device = forward.get("dev") or (inner.get("dev") if inner is not None else None)
    ip4: IPv4Interface | None = None
    ip6: IPv6Interface | None = None
    dhcp: DhcpRange | None = None
    found: list[Reservation] = []
    for element in root.findall("ip"):
        text = f"{element.get('address')}/{element.get('prefix') or element.get('netmask')}"
        if element.get("family") == "ipv6":
            ip6 = IPv6Interface(text)
            continue
        ip4 = IPv4Interface(text)
        span = element.find("dhcp/range")
        if span is not None:
            dhcp = DhcpRange(IPv4Address(span.get("start", "")), IPv4Address(span.get("end", "")))
        found += [
            Reservation(host.get("mac", "").lower(), IPv4Address(host.get("ip", "")), host.get("name", ""))
            for host in element.findall("dhcp/host")
            if host.get("mac") and host.get("ip")
        ]
    ports = root.find("forward/nat/port")
    mtu = root.find("mtu")
    bridge = root.find("bridge")
    domain = root.find("domain")
    settings = _settings(
        forward=kind,
        ip4=ip4,
        ip6=ip6,
        dhcp=dhcp,
        domain=None if domain is None else domain.get("name"),
        mtu=None if mtu is None else int(mtu.get("size", "0")),
        device=device,
        bridge=bridge.get("name") if bridge is not None and kind == "bridge" else None,
        nat_ports=None if ports is None else (int(ports.get("start", "0")), int(ports.get("end", "0"))),
    )
    names = tuple(
        sorted(
            (host.get("ip", ""), tuple(sorted(name.text or "" for name in host.findall("hostname"))))
            for host in root.findall("dns/host")
        )
    )
    settings["reservations"] = _reservation_text(tuple(found))
    settings["dns"] = _dns_text(names)
    return settings, tuple(found), names


def plan_network(
    name: str, wanted: Mapping[str, str] | None, observed: ObservedNetwork | None
) -> NetworkPlan:
    """Return the difference for one network; ``wanted`` None means that the file no longer has it."""
    if wanted is None:
        return NetworkPlan(name, "remove" if observed else "none")
    if observed is None:
        changes = {key: ("", value) for key, value in wanted.items() if value}
        return NetworkPlan(name, "create", MappingProxyType(changes))
    changes = {
        key: (now, value)
        for key, value in wanted.items()
        for now in (_now(observed, key, value),)
        if now != value
    }
    if not changes:
        return NetworkPlan(name, "none")
    # If only the definition differs, it is corrected while the network keeps running.
    running = {
        key for key in changes if observed.live.get(key, observed.settings.get(key, "")) != wanted[key]
    }
    in_place = running <= _LIVE or not observed.active
    return NetworkPlan(name, "update" if in_place else "restart", MappingProxyType(changes), observed)


def _now(observed: ObservedNetwork, key: str, wanted: str) -> str:
    """Return the value at the next start or, if that is as wanted, the running network's."""
    defined = observed.settings.get(key, "")
    return defined if defined != wanted else observed.live.get(key, defined)
