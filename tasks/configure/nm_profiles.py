"""The NetworkManager profile of each NIC, derived from the lab file."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from labrun.inventory.hosts.unmanaged import marks_of, reached_at
from labrun.inventory.model import Host, Interface, Lab, Mode, Network
from labrun.inventory.topology.nm_properties import mtu_of
from labrun.inventory.topology.routing import Route, derived_routes, metric_of
from labrun.inventory.topology.vlans import carrier, vlan_device
from labrun.secrets import is_secret
from labrun.tasks.guest.facts.nm_loose import FOLDER
from labrun.tasks.guest.keyfile import Sections

__all__ = [
    "DIRECTORY",
    "WantedProfile",
    "desired_profiles",
    "profile_id",
    "profile_path",
    "property_fault",
    "secret_properties",
]

DIRECTORY = FOLDER

# Higher than cloud-init and other tools use, so that at boot no other profile takes the NIC.
_PRIORITY = "200"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:labrun:1")
_PROPERTY = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")
# These identify labrun's profile and the NIC.
_OURS = frozenset(
    {
        "802-3-ethernet.mac-address",
        "connection.id",
        "connection.interface-name",
        "connection.type",
        "connection.uuid",
        "ethernet.mac-address",
    }
)


def profile_id(nic: str) -> str:
    """Return the profile's name: ``labrun-<NIC>``."""
    return f"labrun-{nic}"


def profile_path(nic: str) -> str:
    """Return the file of labrun's profile for the NIC of this name."""
    return f"{DIRECTORY}/{profile_id(nic)}.nmconnection"


def property_fault(name: str, value: str) -> str | None:
    """Return why a property in the lab file cannot be set, None if it can be tried."""
    if not _PROPERTY.fullmatch(name):
        return f"{name!r} is not a property of nmcli"
    if any(_stands_for(name, ours) for ours in _OURS):
        return f"{name} identifies the profile to labrun and cannot be set"
    if "\0" in value:
        return f"{name}: a value cannot contain a NUL character"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{name}: a value must be valid UTF-8 text"
    return None


def _stands_for(name: str, ours: str) -> bool:
    # nmcli accepts an abbreviated name as the full one.
    setting, _, key = name.partition(".")
    our_setting, _, our_key = ours.partition(".")
    return our_setting.startswith(setting) and our_key.startswith(key)


def secret_properties(profiles: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the values of the profiles' properties that must not be shown."""
    return [value for profile in profiles for name, value in profile["properties"].items() if is_secret(name)]


class WantedProfile(TypedDict):
    """One NIC's profile, as :func:`desired_profiles` says."""

    network: str
    mac: str
    device: str
    existing: bool
    usual_mtu: bool
    marks: Sequence[str]
    reached_at: str | None
    settings: Sections
    properties: Mapping[str, str]


def desired_profiles(lab: Lab, host: Host) -> list[WantedProfile]:
    """Return one JSON-able profile per NIC, in the order of the lab file.

    ``network`` is the NIC's name, by default that of its network. ``existing`` = labrun did not make the
    machine: ``mac`` may be empty, in which case ``marks`` identify the NIC, and ``reached_at`` is the address
    that must stay. ``usual_mtu`` = the file names no MTU, and `verify` expects 1500. A VLAN has the name of
    its ``device``, and the ``mac`` of the NIC below it. ``settings`` are the keyfile's sections;
    ``properties`` are those in the lab file, for nmcli.
    """
    routes = derived_routes(lab, host.name)
    reached = reached_at(host)
    return [
        {
            "network": nic.name,
            "mac": carrier(lab, host, nic).mac.lower(),
            "device": vlan_device(lab, host, nic),
            "existing": host.address is not None,
            "usual_mtu": _has_usual_mtu(lab, host, nic),
            "marks": marks_of(host, nic, lab.networks[nic.network]) if host.address is not None else [],
            "reached_at": str(reached) if reached is not None else None,
            "settings": _settings(lab, host, nic, routes),
            "properties": dict(nic.nmcli),
        }
        for nic in host.interfaces
    ]


def _has_usual_mtu(lab: Lab, host: Host, nic: Interface) -> bool:
    """Tell whether `verify` expects the usual MTU; a VLAN's is at most that of the NIC below it."""
    network = lab.networks[nic.network]
    foreign = host.address is not None or network.is_beyond or bool(vlan_device(lab, host, nic))
    return not foreign and network.mtu is None and mtu_of(nic) is None


def _settings(lab: Lab, host: Host, nic: Interface, routes: Sequence[Route]) -> Sections:
    network = lab.networks[nic.network]
    of_nic = [route for route in routes if route.nic == nic.name]
    four, six = ([route for route in of_nic if route.prefix.version == version] for version in (4, 6))
    identity = uuid.uuid5(_NAMESPACE, f"{lab.name}/{host.name}/{nic.name}")
    below, device = carrier(lab, host, nic), vlan_device(lab, host, nic)
    # A VLAN names no parent: NetworkManager then finds the NIC below it by its MAC.
    ethernet = {"mac-address": below.mac.lower()} if below.mac else {}
    if device:
        ethernet["cloned-mac-address"] = nic.mac.lower()
    if network.mtu is not None:
        ethernet["mtu"] = str(network.mtu)
    # Packets to a network leave by the first NIC on it, whichever of them comes up first.
    later = {"route-metric": str(metric_of(host, nic))} if nic != host.nics_on(nic.network)[0] else {}
    return {
        "connection": {
            "id": profile_id(nic.name),
            "uuid": str(identity),
            "type": "vlan" if device else "ethernet",
            **({"interface-name": device} if device else {}),
            "autoconnect-priority": _PRIORITY,
        },
        "ethernet": ethernet,
        **({"vlan": {"id": str(network.vlan.id)}} if network.vlan is not None else {}),
        "ipv4": {**_ipv4(nic, network, four, rivals=_rivals(host, nic, network, routes, 4)), **later},
        "ipv6": {**_ipv6(host, nic, network, six, rivals=_rivals(host, nic, network, routes, 6)), **later},
    }


def _rivals(host: Host, nic: Interface, network: Network, routes: Sequence[Route], version: int) -> bool:
    """Tell whether a default that a network announces is not wanted, unless its routes have one.

    On a network outside somebody else's server or router may announce one. It is welcome, unless the file
    leads out of another NIC.
    """
    if network.mode not in (Mode.BRIDGE, Mode.MACVTAP):
        return network.mode.has_uplink
    defaults = (each for each in routes if each.prefix.version == version and each.prefix.prefixlen == 0)
    # On an existing machine that way may be the one by which it is administered.
    return host.machine is not None and any(each.nic != nic.name for each in defaults)


def _ipv4(nic: Interface, network: Network, routes: Sequence[Route], *, rivals: bool) -> Mapping[str, str]:
    if nic.dhcp:
        return {"method": "auto", **_beside_dhcp(rivals, routes)}
    if nic.ipv4 is None:
        return {"method": "disabled"}
    settings = {"method": "manual", **_addresses(nic, 4)}
    settings |= _routes(routes, gateway=True)
    if network.hypervisor4 is not None:
        settings["dns"] = f"{network.hypervisor4.ip};"
        if network.domain:
            settings["dns-search"] = f"{network.domain};"
    return settings


def _ipv6(
    host: Host, nic: Interface, network: Network, routes: Sequence[Route], *, rivals: bool
) -> Mapping[str, str]:
    if nic.ipv6_method:
        # DHCPv6 reservations are by name: a client's DUID is not known before it has booted.
        name = {"dhcp-hostname": host.name} if nic.ipv6_method == "dhcp" else {}
        own = {"method": "auto", "addr-gen-mode": "eui64", "ip6-privacy": "0", **name}
        beside = _beside_dhcp(rivals, routes)
        if "ignore-auto-routes" in beside and network.cidr6 is not None:
            # That leaves out the subnet as well, which router advertisements tell.
            beside[f"route{len(beside)}"] = str(network.cidr6)
        return {**own, **beside}
    # Otherwise never by router advertisements: they add an address that is not in the lab file.
    if nic.ipv6 is None:
        return {"method": "link-local"}
    settings = {"method": "manual", **_addresses(nic, 6)}
    settings |= _routes(routes, gateway=True, announced=False)
    if network.hypervisor6 is not None and nic.ipv4 is None and not nic.dhcp:
        settings["dns"] = f"{network.hypervisor6.ip};"
    return settings


def _addresses(nic: Interface, version: int) -> dict[str, str]:
    """Return the fixed addresses as a keyfile has them; the first is the one that packets leave with."""
    return {f"address{number}": str(each) for number, each in enumerate(nic.of(version), start=1)}


def _beside_dhcp(announces_default: bool, routes: Sequence[Route]) -> dict[str, str]:
    """Return the routes that DHCP does not provide, and the settings that reject an unwanted default."""
    defaults = [route for route in routes if route.prefix.prefixlen == 0]
    settings = _routes(routes, gateway=False)
    if not announces_default or any(route.origin == "dhcp" for route in defaults):
        return settings
    # never-default would also reject the profile's default route.
    return settings | ({"ignore-auto-routes": "true"} if defaults else {"never-default": "true"})


def _routes(routes: Sequence[Route], *, gateway: bool, announced: bool = True) -> dict[str, str]:
    """Return gateway and routes; ``gateway`` False writes a default as a route, as DHCP needs it.

    ``announced`` routes are left out, since they are received dynamically.
    """
    settings: dict[str, str] = {}
    number = 0
    for route in routes:
        if route.via is None or (announced and route.origin == "dhcp"):
            continue
        if gateway and route.prefix.prefixlen == 0:
            settings["gateway"] = str(route.via)
        else:
            number += 1
            settings[f"route{number}"] = f"{route.prefix},{route.via}"
    if gateway and "gateway" not in settings:
        settings["never-default"] = "true"
    return settings
