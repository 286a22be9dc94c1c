"""NICs as NetworkManager and the kernel report them: one D-Bus call and two or three of ``ip -j``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from labrun.bounded import (
    SETTINGS_LINES,
    as_integer,
    as_list,
    as_object,
    as_text,
    integer,
    objects,
    require_lines,
)
from labrun.inventory.route_patterns import RoutePattern
from labrun.tasks.guest.facts.answers import answer
from labrun.tasks.guest.facts.nics import IPV6_SWITCHES, Nic, nics_of, without_ipv6
from labrun.tasks.guest.facts.rules import PolicyRule, rules
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = [
    "PROBE",
    "RESOLVER",
    "UNITS",
    "Device",
    "NmState",
    "Rival",
    "observed",
    "priority_of",
    "rivals",
    "rivals_probe",
]

_BUS = "org.freedesktop.NetworkManager"
_ROOT = "/org/freedesktop/NetworkManager"
RESOLVER = "/etc/resolv.conf"
_WRITTEN = "/run/NetworkManager/resolv.conf"
# NMDeviceState; a NIC that still waits for IPv6 router advertisements stays at 70, and works.
_UNMANAGED, _PREPARE, _ACTIVATED = 10, 40, 100
_NICS, _VLANS = frozenset({1, 20}), frozenset({11})

PROBE = Probe(
    (RESOLVER, _WRITTEN, IPV6_SWITCHES),
    script=f"""\
[ ! -h {RESOLVER} ] || frame 'link {RESOLVER}'
capture nm busctl --json=short call {_BUS} \\
/org/freedesktop org.freedesktop.DBus.ObjectManager GetManagedObjects
""",
)
"""Asks NetworkManager; to be used with ``links.PROBE``, and ``routes.PROBE6`` for profiles with IPv6."""


UNITS = ("NetworkManager.service",)
_NO = ("false", "no", "0")
_TYPES = ("ethernet", "802-3-ethernet")
_LEAST = -999


def rivals_probe(folder: str) -> Probe:
    """Read how profiles that are not labrun's compete, in ``folder`` and the vendor's."""
    return Probe(script=assigned({"folder": folder}) + guest_script("rivals"))


@dataclass(frozen=True, slots=True)
class Rival:
    """A profile on the disk that NetworkManager activates automatically, and the NICs that it is for.

    Empty ``interface`` and ``mac`` = any.
    """

    file: str
    name: str
    priority: int
    interface: str
    mac: str


@dataclass(frozen=True, slots=True)
class Device:
    """One NIC as NetworkManager has it; ``profile`` is the UUID of the active profile.

    ``path`` is its D-Bus path. ``available`` are the files of the profiles that could be activated on it,
    ``searches`` the domains that names are looked up in, None if NetworkManager does not say.
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
    searches: tuple[str, ...] | None = None

    @property
    def is_managed(self) -> bool:
        """Tell whether NetworkManager manages this NIC."""
        return self.state > _UNMANAGED

    @property
    def is_up(self) -> bool:
        """Tell whether its profile is active or being activated."""
        return _PREPARE <= self.state <= _ACTIVATED


@dataclass(frozen=True, slots=True)
class NmState:
    """Devices by MAC, NICs by interface, and the profile files that NetworkManager has loaded.

    ``rules`` are the policy rules beyond the kernel's own, None if nobody asked. ``resolver`` are the name
    servers in /etc/resolv.conf and those that NetworkManager has written there, None if it does not write
    that file. ``no_ipv6`` are the NICs on which the kernel has IPv6 switched off. ``vlans`` are the VLAN
    devices by interface: each may have the MAC of the NIC below it.
    """

    devices: Mapping[str, Device]
    nics: Mapping[str, Nic]
    loaded: frozenset[str]
    rules: tuple[PolicyRule, ...] | None = None
    resolver: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    no_ipv6: frozenset[str] = frozenset()
    vlans: Mapping[str, Device] = field(default_factory=dict)


_NM = "NetworkManager"


def _untagged(value: dict[str, Any]) -> Any:
    """Return a D-Bus value without the type tag of busctl's JSON."""
    return value["data"] if len(value) == 2 and value.keys() == {"type", "data"} else value


def observed(facts: Facts, ignored: Iterable[RoutePattern] = ()) -> NmState:
    """Return the state, without the routes that the lab file tells labrun to leave alone.

    Raises CommandError with the message of a failed command, UnreadableError.
    """
    state, patterns = facts.once(_state), tuple(ignored)
    return replace(state, nics=nics_of(facts, patterns)) if patterns else state


def _state(facts: Facts) -> NmState:
    everything = as_list(answer(facts, "nm", _NM, _untagged), _NM, "the objects of NetworkManager")
    known = {
        path: as_object(interfaces, _NM, "an object of NetworkManager")
        for path, interfaces in as_object(
            everything[0] if len(everything) == 1 else None, _NM, "the objects of NetworkManager"
        ).items()
    }
    devices = {device.mac: device for device in _devices(known, _NICS)}
    vlans = {device.interface: device for device in _devices(known, _VLANS)}
    settings = (_part(entry, "Settings.Connection") for entry in known.values())
    loaded = frozenset(as_text(setting.get("Filename"), _NM) for setting in settings if setting)
    asked = [version for version in (4, 6) if f"rules{version}" in facts.commands]
    policy = tuple(rule for version in asked for rule in rules(facts, version)) if asked else None
    resolver = _resolver(known, facts)
    return NmState(devices, nics_of(facts, ()), loaded, policy, resolver, without_ipv6(facts), vlans)


def _resolver(
    known: Mapping[str, Mapping[str, Any]], facts: Facts
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    manager = _part(known.get(f"{_ROOT}/DnsManager", {}), "DnsManager")
    is_file = RESOLVER in facts.files and f"link {RESOLVER}" not in facts.words
    if _WRITTEN not in facts.files or not is_file or _text(manager, "RcManager") not in ("symlink", "file"):
        return None
    return _servers_in(facts.files[RESOLVER]), _servers_in(facts.files[_WRITTEN])


def _servers_in(text: str) -> tuple[str, ...]:
    require_lines(text, RESOLVER, SETTINGS_LINES)
    lines = (line.split() for line in text.splitlines())
    return tuple(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")


def rivals(facts: Facts) -> tuple[Rival, ...]:
    """Return the profiles that :func:`rivals_probe` has found, without those that wait for a user."""
    text = facts.commands.get("rivals", Captured("", 0)).text
    require_lines(text, _NM, SETTINGS_LINES)
    files: list[dict[str, str]] = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "file":
            files.append({})
        if files:
            files[-1][key] = value
    return tuple(
        Rival(
            file["file"],
            file.get("id") or file["file"].rpartition("/")[2].removesuffix(".nmconnection"),
            priority_of(file),
            file.get("interface-name", ""),
            file.get("mac-address", "").lower(),
        )
        for file in files
        if file.get("autoconnect") not in _NO and file.get("type", _TYPES[0]) in _TYPES
    )


def priority_of(connection: Mapping[str, str]) -> int:
    """Return the autoconnect-priority in the section ``connection`` of a profile."""
    priority = integer(connection.get("autoconnect-priority", "0"), least=_LEAST, most=-_LEAST)
    return 0 if priority is None else priority


def _part(interfaces: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object's properties on one D-Bus interface, none if it lacks that interface."""
    return as_object(interfaces.get(f"{_BUS}.{name}", {}), _NM, "properties")


def _text(properties: Mapping[str, Any], name: str, default: str = "") -> str:
    return as_text(properties.get(name, default), _NM)


def _devices(known: Mapping[str, Mapping[str, Any]], kinds: Collection[int]) -> Iterator[Device]:
    for path, interfaces in known.items():
        device = _part(interfaces, "Device")
        # A bridge or VLAN on top of a NIC may have the same MAC; only the NIC itself counts as one.
        if device.get("DeviceType") not in kinds:
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
            searches=_searches(known, device),
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
            # NetworkManager 1.42 returns each as 16 numbers.
            for server in as_list(config.get("Nameservers", []), _NM):
                numbers = as_list(server, _NM)
                if len(numbers) == 16:
                    yield str(ip_address(bytes(as_integer(number, _NM, most=255) for number in numbers)))


def _searches(known: Mapping[str, Mapping[str, Any]], device: Mapping[str, Any]) -> tuple[str, ...] | None:
    domains: list[str] = []
    for version in (4, 6):
        config = _part(known.get(_text(device, f"Ip{version}Config"), {}), f"IP{version}Config")
        if "Searches" not in config:
            return None
        # Those of DHCP are apart.
        for name in ("Searches", "Domains"):
            domains += [
                as_text(domain, _NM) for domain in as_list(config.get(name, []), _NM, "search domains")
            ]
    return tuple(dict.fromkeys(domains))
