"""What NetworkManager and the kernel say of the NICs: one D-Bus call and two or three of ``ip -j``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

from labrun.errors import CommandError
from labrun.tasks.configure.keyfile import Hop
from labrun.tasks.configure.shell import Captured, Facts

__all__ = ["PROBE", "Device", "Link", "NmState", "observed"]

_BUS = "org.freedesktop.NetworkManager"
# NMDeviceState; while IPv6 still looks for routers a NIC stays at 70, and works.
_UNMANAGED, _PREPARE, _ACTIVATED = 10, 40, 100
_ETHERNET, _VETH = 1, 20

PROBE = f"""\
capture nm busctl --json=short call {_BUS} \\
/org/freedesktop org.freedesktop.DBus.ObjectManager GetManagedObjects
both=$(ip -j -batch - 2>&1 <<'END'
address
route
END
)
status=$?
[ "${{both#*
}}" != "$both" ] || both="$both
[]"
frame out link; printf '%s\n' "${{both%%
*}}"; frame status link $status
frame out route4; printf '%s\n' "${{both##*
}}"; frame status route4 $status
"""
"""The script; ``route6`` is asked for only where a profile has IPv6 routes.

One process shows addresses and IPv4 routes, a line each.
"""


@dataclass(frozen=True, slots=True)
class Device:
    """One NIC as NetworkManager has it; ``profile`` is the UUID of the active profile.

    ``path`` names it on the D-Bus. ``available`` are the files of the profiles that could be activated on it.
    """

    path: str
    interface: str
    mac: str
    state: int
    profile: str | None
    profile_id: str
    file: str
    dns: tuple[str, ...]
    available: frozenset[str] = frozenset()

    @property
    def is_managed(self) -> bool:
        """Tell whether NetworkManager takes care of this NIC."""
        return self.state > _UNMANAGED

    @property
    def is_up(self) -> bool:
        """Tell whether its profile is in force or on the way."""
        return _PREPARE <= self.state <= _ACTIVATED


@dataclass(frozen=True, slots=True)
class Link:
    """One NIC as the kernel has it; ``lasting`` are the addresses without a lease's lifetime."""

    mtu: int
    addresses: frozenset[IPv4Interface | IPv6Interface]
    lasting: frozenset[IPv4Interface | IPv6Interface]
    routes: Mapping[Hop, str]


@dataclass(frozen=True, slots=True)
class NmState:
    """Devices by MAC, links by interface, and the files NetworkManager has loaded."""

    devices: Mapping[str, Device]
    links: Mapping[str, Link]
    loaded: frozenset[str]


def _untagged(value: dict[str, Any]) -> Any:
    """Return a D-Bus value without the type tag of busctl's JSON."""
    return value["data"] if len(value) == 2 and value.keys() == {"type", "data"} else value


def _json(facts: Facts, name: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    said = facts.commands.get(name, Captured("", 127))
    if said.status != 0:
        raise CommandError(said.last_line, step=name)
    return json.loads(said.text or "[]", object_hook=hook)


def observed(facts: Facts) -> NmState:
    """Return the state; raises CommandError with what the command said where one failed."""
    (objects,) = _json(facts, "nm", _untagged)
    devices = {device.mac: device for device in _devices(objects)}
    settings = (interfaces.get(f"{_BUS}.Settings.Connection") for interfaces in objects.values())
    loaded = frozenset(setting["Filename"] for setting in settings if setting)
    routes = {4: _json(facts, "route4"), 6: _json(facts, "route6") if "route6" in facts.commands else []}
    links = {link["ifname"]: _link(link, routes) for link in _json(facts, "link")}
    return NmState(devices, links, loaded)


def _devices(objects: Mapping[str, Any]) -> Iterator[Device]:
    for path, interfaces in objects.items():
        device = interfaces.get(f"{_BUS}.Device")
        # A bridge or VLAN over a NIC has the same MAC; only the NIC itself is meant.
        if device is None or device["DeviceType"] not in (_ETHERNET, _VETH):
            continue
        wired = interfaces.get(f"{_BUS}.Device.Wired", {})
        active = objects.get(device["ActiveConnection"], {}).get(f"{_BUS}.Connection.Active", {})
        stored = objects.get(active.get("Connection", "/"), {}).get(f"{_BUS}.Settings.Connection", {})
        yield Device(
            path=path,
            interface=device["Interface"],
            mac=str(wired.get("PermHwAddress") or device["HwAddress"]).lower(),
            state=device["State"],
            profile=active.get("Uuid"),
            profile_id=active.get("Id", ""),
            file=stored.get("Filename", ""),
            dns=tuple(_name_servers(objects, device)),
            available=frozenset(
                stored["Filename"]
                for each in device.get("AvailableConnections", ())
                if (stored := objects.get(each, {}).get(f"{_BUS}.Settings.Connection"))
            ),
        )


def _name_servers(objects: Mapping[str, Any], device: Mapping[str, Any]) -> Iterator[str]:
    for version in (4, 6):
        config = objects.get(device[f"Ip{version}Config"], {}).get(f"{_BUS}.IP{version}Config", {})
        if "NameserverData" in config:
            yield from (str(server["address"]) for server in config["NameserverData"])
        elif version == 6:
            # NetworkManager 1.42 has them as 16 numbers each.
            yield from (str(ip_address(bytes(server))) for server in config.get("Nameservers", ()))


def _link(link: Mapping[str, Any], routes: Mapping[int, list[Mapping[str, Any]]]) -> Link:
    addresses = {
        ip_interface(f"{info['local']}/{info['prefixlen']}"): bool(info.get("dynamic"))
        for info in link.get("addr_info", ())
        if info.get("scope") == "global" and "local" in info
    }
    return Link(
        mtu=int(link["mtu"]),
        addresses=frozenset(addresses),
        lasting=frozenset(address for address, dynamic in addresses.items() if not dynamic),
        routes={
            hop: protocol
            for version in routes
            for hop, protocol in _hops(link["ifname"], version, routes[version])
        },
    )


def _hops(interface: str, version: int, routes: list[Mapping[str, Any]]) -> Iterator[tuple[Hop, str]]:
    everywhere = "0.0.0.0/0" if version == 4 else "::/0"
    for route in routes:
        if route.get("dev") != interface or route.get("type", "unicast") != "unicast":
            continue
        prefix = ip_network(everywhere if route["dst"] == "default" else route["dst"], strict=False)
        if prefix.is_link_local or prefix.is_multicast:
            continue
        gateway = route.get("gateway")
        yield Hop(prefix, ip_address(gateway) if gateway else None), str(route.get("protocol", "boot"))
