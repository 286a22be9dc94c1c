"""What a NIC's ``nmcli:`` properties change of its addresses, routes and MTU: a pure function of the file.

nmcli sets a property as a whole: ``ipv4.routes`` replaces the routes that labrun would write itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Final

from labrun.inventory.model import Address, Interface, Prefix
from labrun.inventory.topology.wiring import Version

__all__ = ["NicProperties", "NicRoute", "is_mac_set", "mtu_of", "nic_properties"]

# Every property of the three settings, as nmcli completes an abbreviated name only if it is unambiguous.
_IP: Final = (
    *("method", "dns", "dns-search", "dns-options", "dns-priority", "addresses", "gateway", "routes"),
    *("route-metric", "route-table", "routing-rules", "replace-local-rule", "ignore-auto-routes"),
    *("ignore-auto-dns", "dhcp-client-id", "dhcp-duid", "dhcp-iaid", "dhcp-timeout", "dhcp-send-hostname"),
    *("dhcp-hostname", "dhcp-fqdn", "dhcp-hostname-flags", "never-default", "may-fail", "required-timeout"),
    *("dad-timeout", "dhcp-vendor-class-identifier", "link-local", "dhcp-reject-servers"),
    *("auto-route-ext-gw", "ip6-privacy", "addr-gen-mode", "ra-timeout", "mtu", "token"),
)
_NOT_OF_IPV4: Final = frozenset({"ip6-privacy", "addr-gen-mode", "ra-timeout", "mtu", "token", "dhcp-duid"})
_ETHERNET: Final = (
    *("port", "speed", "duplex", "auto-negotiate", "mac-address", "cloned-mac-address", "mtu"),
    *("generate-mac-address-mask", "mac-address-blacklist", "s390-subchannels", "s390-nettype"),
    *("s390-options", "wake-on-lan", "wake-on-lan-password", "accept-all-mac-addresses"),
)
_WIRED: Final = ("802-3-ethernet", "ethernet")
_MAIN: Final = ("0", "254")
_TRUE: Final = frozenset({"yes", "true", "on", "1"})
_NO_ADDRESS: Final = frozenset({"disabled", "ignore", "link-local"})


@dataclass(frozen=True, slots=True)
class NicRoute:
    """One entry of ``ipv4.routes``: ``kind`` as in ``ip route``, ``metric`` None if it gives none."""

    prefix: Prefix
    via: Address | None
    kind: str = "unicast"
    metric: int | None = None


@dataclass(frozen=True, slots=True)
class NicProperties:
    """What the properties say in one IP version; None = they do not say.

    ``routes`` are those of the main table, ``metric`` that of routes which give none. ``is_elsewhere`` tells
    that the profile's other routes are in another table. ``method`` is how the NIC gets its addresses, empty
    if they do not say.
    """

    addresses: tuple[IPv4Interface | IPv6Interface, ...] | None = None
    routes: tuple[NicRoute, ...] | None = None
    gateway: Address | None = None
    has_no_default: bool = False
    ignores_announced: bool = False
    is_elsewhere: bool = False
    method: str = ""
    metric: int | None = None

    @property
    def has_none(self) -> bool:
        """Tell whether the NIC has no address of this version."""
        return self.method in _NO_ADDRESS

    @property
    def is_automatic(self) -> bool:
        """Tell whether DHCP or router advertisements may add an address to those of the profile."""
        return self.method in ("auto", "dhcp")


def nic_properties(nic: Interface, version: Version) -> NicProperties:
    """Return what a NIC's properties say; a value that nmcli would refuse counts as not given."""
    settings = {name: value for prop, value in nic.nmcli.items() if (name := _ip_property(prop, version))}
    return NicProperties(
        addresses=_addresses(settings["addresses"], version) if "addresses" in settings else None,
        routes=_routes(settings["routes"], version) if "routes" in settings else None,
        gateway=_gateway(settings.get("gateway", ""), version),
        has_no_default=settings.get("never-default", "").lower() in _TRUE,
        ignores_announced=settings.get("ignore-auto-routes", "").lower() in _TRUE,
        is_elsewhere=settings.get("route-table", "0") not in _MAIN,
        method=settings.get("method", ""),
        metric=_metric(settings.get("route-metric", ""), version),
    )


def mtu_of(nic: Interface) -> int | None:
    """Return the MTU in bytes that the properties give a NIC, 0 for ``auto``; None if they give none."""
    for prop, value in nic.nmcli.items():
        setting, _, name = prop.partition(".")
        wired = any(each.startswith(setting) for each in _WIRED)
        if wired and _full(name, _ETHERNET) == "mtu" and value.isdecimal():
            return int(value)
        if wired and _full(name, _ETHERNET) == "mtu" and value == "auto":
            return 0
    return None


def is_mac_set(nic: Interface) -> bool:
    """Tell whether the properties give a NIC another MAC than its own."""
    names = (prop.partition(".") for prop in nic.nmcli)
    return any(
        any(each.startswith(setting) for each in _WIRED) and _full(name, _ETHERNET) == "cloned-mac-address"
        for setting, _, name in names
    )


def _ip_property(prop: str, version: Version) -> str | None:
    setting, _, name = prop.partition(".")
    known = tuple(each for each in _IP if version == 6 or each not in _NOT_OF_IPV4)
    return _full(name, known) if setting == f"ipv{version}" else None


def _full(name: str, known: tuple[str, ...]) -> str | None:
    """Return the property that nmcli takes a name for: that one, or the only one that begins like this."""
    if name in known:
        return name
    fitting = [each for each in known if each.startswith(name)]
    return fitting[0] if len(fitting) == 1 else None


def _listed(value: str) -> Iterator[str]:
    yield from (part.strip() for part in value.split(",") if part.strip())


def _addresses(value: str, version: Version) -> tuple[IPv4Interface | IPv6Interface, ...] | None:
    try:
        addresses = tuple(ip_interface(part) for part in _listed(value))
    except ValueError:
        return None
    return addresses if all(each.version == version for each in addresses) else None


def _metric(value: str, version: Version) -> int | None:
    """Return a metric as the kernel has it, None if NetworkManager picks it: to IPv6, 0 is 1024."""
    if not value.isdecimal():
        return None
    return 1024 if version == 6 and int(value) == 0 else int(value)


def _gateway(value: str, version: Version) -> Address | None:
    try:
        address = ip_address(value)
    except ValueError:
        return None
    return address if address.version == version else None


def _routes(value: str, version: Version) -> tuple[NicRoute, ...] | None:
    """Return the routes of the main table; None for a list that nmcli would refuse."""
    routes = []
    for part in _listed(value):
        words = part.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        try:
            prefix, hops = ip_network(plain[0], strict=False), plain[1:]
            metric = int(hops.pop()) if hops and re.fullmatch("[0-9]{1,10}", hops[-1]) else None
            via = ip_address(hops[0]) if hops else None
        except (ValueError, IndexError):
            return None
        if prefix.version != version:
            return None
        if options.get("table", "0") in _MAIN:
            there = None if via is None or via.is_unspecified else via
            routes.append(NicRoute(prefix, there, options.get("type", "unicast"), metric))
    return tuple(routes)
