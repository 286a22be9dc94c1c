"""What NetworkManager and the kernel say of the NICs: one D-Bus call and two or three of ``ip -j``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from typing import Any

from labrun.bounded import (
    Hook,
    as_address,
    as_integer,
    as_interface,
    as_list,
    as_object,
    as_prefix,
    as_text,
    objects,
    read_json,
)
from labrun.errors import CommandError
from labrun.tasks.configure.keyfile import Hop
from labrun.tasks.guest.shell import Captured, Facts

__all__ = ["PROBE", "Device", "Link", "NmState", "observed"]

_BUS = "org.freedesktop.NetworkManager"
# NMDeviceState; while IPv6 still looks for routers a NIC stays at 70, and works.
_UNMANAGED, _PREPARE, _ACTIVATED = 10, 40, 100
_ETHERNET, _VETH = 1, 20

PROBE = f"""\
capture nm busctl --json=short call {_BUS} \\
/org/freedesktop org.freedesktop.DBus.ObjectManager GetManagedObjects
frame err link
{{ both=$(ip -j -batch - 2>&3 <<'END'
address
route
END
); status=$?; }} 3>&1
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


_NM = "NetworkManager"
_OUTPUTS = {"nm": _NM, "link": "ip address", "route4": "ip route", "route6": "ip -6 route"}
"""What the answers are called where one cannot be read."""


def _untagged(value: dict[str, Any]) -> Any:
    """Return a D-Bus value without the type tag of busctl's JSON."""
    return value["data"] if len(value) == 2 and value.keys() == {"type", "data"} else value


def _json(facts: Facts, name: str, hook: Hook | None = None) -> Any:
    said = facts.commands.get(name, Captured("", 127))
    if said.status != 0:
        raise CommandError(said.last_line, step=name)
    return read_json(said.text or "[]", _OUTPUTS[name], hook)


def _rows(facts: Facts, name: str) -> list[Mapping[str, Any]]:
    return objects(_json(facts, name), _OUTPUTS[name], "links" if name == "link" else "routes")


def observed(facts: Facts) -> NmState:
    """Return the state; raises CommandError with what the command said where one failed.

    For an answer that is not what it should be that is an UnreadableError.
    """
    everything = as_list(_json(facts, "nm", _untagged), _NM, "the objects of NetworkManager")
    known = {
        path: as_object(interfaces, _NM, "an object of NetworkManager")
        for path, interfaces in as_object(
            everything[0] if len(everything) == 1 else None, _NM, "the objects of NetworkManager"
        ).items()
    }
    devices = {device.mac: device for device in _devices(known)}
    settings = (_part(each, "Settings.Connection") for each in known.values())
    loaded = frozenset(as_text(setting.get("Filename"), _NM) for setting in settings if setting)
    found = _rows(facts, "link")
    routes = _by_device(facts)
    links = {as_text(link.get("ifname"), _OUTPUTS["link"]): link for link in found}
    return NmState(devices, {name: _link(link, routes.get(name, {})) for name, link in links.items()}, loaded)


def _part(interfaces: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object's properties of one D-Bus interface, none where it does not have it."""
    return as_object(interfaces.get(f"{_BUS}.{name}", {}), _NM, "properties")


def _text(properties: Mapping[str, Any], name: str, default: str = "") -> str:
    return as_text(properties.get(name, default), _NM)


def _devices(known: Mapping[str, Mapping[str, Any]]) -> Iterator[Device]:
    for path, interfaces in known.items():
        device = _part(interfaces, "Device")
        # A bridge or VLAN over a NIC has the same MAC; only the NIC itself is meant.
        if device.get("DeviceType") not in (_ETHERNET, _VETH):
            continue
        wired = _part(interfaces, "Device.Wired")
        active = _part(known.get(_text(device, "ActiveConnection"), {}), "Connection.Active")
        stored = _part(known.get(_text(active, "Connection"), {}), "Settings.Connection")
        yield Device(
            path=path,
            interface=as_text(device.get("Interface"), _NM),
            mac=(_text(wired, "PermHwAddress") or as_text(device.get("HwAddress"), _NM)).lower(),
            state=as_integer(device.get("State"), _NM),
            profile=_text(active, "Uuid") or None,
            profile_id=_text(active, "Id"),
            file=_text(stored, "Filename"),
            dns=tuple(_name_servers(known, device)),
            available=frozenset(
                _text(profile, "Filename")
                for each in as_list(device.get("AvailableConnections", []), _NM, "the profiles of a device")
                if (profile := _part(known.get(as_text(each, _NM), {}), "Settings.Connection"))
            ),
        )


def _name_servers(known: Mapping[str, Mapping[str, Any]], device: Mapping[str, Any]) -> Iterator[str]:
    for version in (4, 6):
        config = _part(known.get(_text(device, f"Ip{version}Config"), {}), f"IP{version}Config")
        if "NameserverData" in config:
            servers = objects(config["NameserverData"], _NM, "name servers")
            yield from (as_text(server.get("address"), _NM) for server in servers)
        elif version == 6:
            # NetworkManager 1.42 has them as 16 numbers each.
            for server in as_list(config.get("Nameservers", []), _NM):
                numbers = as_list(server, _NM)
                if len(numbers) == 16:
                    yield str(ip_address(bytes(as_integer(each, _NM, most=255) for each in numbers)))


def _link(link: Mapping[str, Any], routes: Mapping[Hop, str]) -> Link:
    what = _OUTPUTS["link"]
    addresses = {
        as_interface(f"{info['local']}/{info.get('prefixlen')}", what): bool(info.get("dynamic"))
        for info in objects(link.get("addr_info", []), what, "addresses")
        if info.get("scope") == "global" and "local" in info
    }
    return Link(
        mtu=as_integer(link.get("mtu"), what),
        addresses=frozenset(addresses),
        lasting=frozenset(address for address, dynamic in addresses.items() if not dynamic),
        routes=routes,
    )


def _by_device(facts: Facts) -> dict[str, dict[Hop, str]]:
    """Return, by device, where it sends packets, and who says so."""
    found: dict[str, dict[Hop, str]] = {}
    for version in (4, 6):
        # IPv6 is asked for only where somebody wants to know.
        rows = _rows(facts, f"route{version}") if version == 4 or "route6" in facts.commands else []
        for device, hop, protocol in _hops(version, rows):
            found.setdefault(device, {})[hop] = protocol
    return found


def _hops(version: int, routes: list[Mapping[str, Any]]) -> Iterator[tuple[str, Hop, str]]:
    everywhere, what = "0.0.0.0/0" if version == 4 else "::/0", _OUTPUTS[f"route{version}"]
    for route in routes:
        if "dev" not in route or route.get("type", "unicast") != "unicast":
            continue
        dst = as_text(route.get("dst"), what)
        prefix = as_prefix(everywhere if dst == "default" else dst, what)
        if prefix.is_link_local or prefix.is_multicast:
            continue
        gateway = route.get("gateway")
        via = as_address(gateway, what) if gateway else None
        yield as_text(route["dev"], what), Hop(prefix, via), as_text(route.get("protocol", "boot"), what)
