"""The notation of addresses, subnets and MACs in a lab file; each function parses one form."""

from __future__ import annotations

import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    NetmaskValueError,
    ip_address,
)
from typing import Final, Literal, TypeVar

from pydantic_core import PydanticCustomError

from labrun.inventory.file.problems import did_you_mean, quoted
from labrun.inventory.file.pydantic_types import wrong

__all__ = [
    "AUTO",
    "DHCP",
    "IPV4_MAPPED",
    "NONE",
    "Nic4",
    "Nic6",
    "address",
    "ipv4",
    "mac",
    "network4",
    "network6",
    "nic_address4",
    "nic_address6",
    "own_address4",
    "own_address6",
    "prefix",
]

AUTO: Final = "auto"
DHCP: Final = "dhcp"
NONE: Final = "none"
Nic4 = IPv4Address | IPv4Interface | Literal["dhcp"]
Nic6 = IPv6Address | IPv6Interface | Literal["auto", "dhcp"]
# Guests cannot use these; the is_* properties of ipaddress would also reject documentation prefixes.
_USELESS: Final = {
    "loopback": (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
    "multicast": (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8")),
    "link-local": (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10")),
    "reserved": (IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4")),
    "IPv4 written as IPv6": (IPv6Network("::/96"), IPv6Network("::ffff:0:0/96")),
}
IPV4_MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""The kernel takes an address in here to be the IPv4 address that it ends with, and sends IPv4."""


def address(value: str) -> IPv4Address | IPv6Address:
    """Return an IPv4 or IPv6 address without a zone, and IPv6 that is not just IPv4 in disguise."""
    try:
        found = ip_address(value)
    except ValueError:
        raise wrong(f"{quoted(value)} is not a valid IP address") from None
    if isinstance(found, IPv6Address) and found.scope_id:
        raise wrong(f"{quoted(value)} has a zone", "leave out what follows the %")
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        raise wrong(f"{quoted(value)} is IPv4 written as IPv6", f"write {found.ipv4_mapped}")
    return found


def ipv4(value: str) -> IPv4Address:
    """Return an IPv4 address."""
    found = address(value)
    if not isinstance(found, IPv4Address):
        raise wrong(f"{quoted(value)} is not a valid IPv4 address")
    return found


def network4(value: str) -> IPv4Network:
    """Return an IPv4 subnet that guests can use."""
    if ":" in value:
        raise wrong(f"{quoted(value)} is IPv6", "write it as cidr6")
    return _usable(_subnet(value, IPv4Network, "an IPv4 subnet such as 172.16.0.0/24"))


def network6(value: str) -> IPv6Network:
    """Return an IPv6 subnet that guests can use."""
    if ":" not in value and "." in value:
        raise wrong(f"{quoted(value)} is IPv4", "write it as cidr")
    return _usable(_subnet(value, IPv6Network, "an IPv6 subnet such as fd00:1::/64"))


_P = TypeVar("_P", IPv4Network, IPv6Network)


def _subnet(value: str, kind: type[_P], example: str) -> _P:
    if "/" not in value:
        raise wrong(
            f"{quoted(value)} has no prefix length", f"it is written like {example.rsplit(' ', 1)[1]}"
        )
    try:
        loose = kind(value, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise wrong(f"{quoted(value)} is not {example}") from None
    if "%" in value or not value.rpartition("/")[2].isdecimal():
        raise wrong(f"{quoted(value)} is not {example}")
    try:
        return kind(value)
    except ValueError:
        raise wrong(
            f"{quoted(value)} is an address in a subnet, not a subnet", f"the subnet is {loose}"
        ) from None


def _usable(found: _P) -> _P:
    if found.prefixlen == 0:
        raise wrong(f"{found} covers every address", "write a smaller subnet")
    for kind, prefixes in _USELESS.items():
        for prefix in prefixes:
            if type(found) is not type(prefix) or not found.overlaps(prefix):
                continue
            if found.prefixlen >= prefix.prefixlen:
                raise wrong(f"{found} is {kind}: guests cannot use it")
            raise wrong(f"{found} holds {prefix}, which is {kind}: guests cannot use that")
    return found


def prefix(value: str) -> IPv4Network | IPv6Network:
    """Return a route's destination: a subnet or a single address, but not the default route."""
    if value == "default":
        raise wrong("the default route is not written as a route", "use gateway:")
    text = value if "/" in value else f"{value}/{128 if ':' in value else 32}"
    found = (
        _subnet(text, IPv6Network, "a prefix such as fd00:9::/48")
        if ":" in text
        else _subnet(text, IPv4Network, "a prefix such as 10.9.0.0/16")
    )
    if found.prefixlen == 0:
        raise wrong("the default route is not written as a route", "use gateway:")
    if isinstance(found, IPv6Network) and found.subnet_of(IPV4_MAPPED):
        raise wrong(f"{quoted(value)} is IPv4 written as IPv6", "write the IPv4 prefix")
    return found


# In ipaddress, an interface is a subclass of address.
_A = TypeVar("_A", IPv4Address, IPv6Address)


def nic_address4(value: str) -> Nic4:
    """Return ``dhcp`` or a NIC's IPv4 address, with its prefix length if given."""
    if value == DHCP:
        return DHCP
    return _nic_address(value, IPv4Address, IPv4Interface, did_you_mean(value, [DHCP]))


def nic_address6(value: str) -> Nic6:
    """Return ``auto``, ``dhcp`` or a NIC's IPv6 address, with its prefix length if given."""
    if value == DHCP:
        return DHCP
    if value == AUTO:
        return AUTO
    hint = did_you_mean(value, [AUTO, DHCP]) or "an address such as fd00:1::11, auto or dhcp"
    return _nic_address(value, IPv6Address, IPv6Interface, hint)


def own_address4(value: str) -> IPv4Address | Literal["none"]:
    """Return the hypervisor's IPv4 address on a network, or ``none``."""
    return NONE if value == NONE else _own_address(value, IPv4Address)


def own_address6(value: str) -> IPv6Address | Literal["none"]:
    """Return the hypervisor's IPv6 address on a network, or ``none``."""
    return NONE if value == NONE else _own_address(value, IPv6Address)


def _own_address(value: str, kind: type[_A]) -> _A:
    try:
        found = address(value)
    except PydanticCustomError:
        if re.fullmatch("[A-Za-z]+", value):
            raise wrong(f"{quoted(value)} is not a valid address", "an address, or none") from None
        if "/" in value:
            hint = "leave the prefix length out: the network sets it"
            raise wrong(f"{quoted(value)} is not a valid address", hint) from None
        raise
    if not isinstance(found, kind):
        raise wrong(f"{quoted(value)} is not a valid IPv{10 - found.version} address")
    return found


def _nic_address(value: str, plain: type[_A], with_length: type[_A], hint: str | None) -> _A:
    """Return the address, with ``hint`` for a word that is none."""
    text, slash, length = value.partition("/")
    try:
        found = address(text)
    except PydanticCustomError:
        if re.fullmatch("[A-Za-z]+", value):
            raise wrong(f"{quoted(value)} is not a valid address", hint) from None
        raise
    if not isinstance(found, plain):
        raise wrong(f"{quoted(value)} is not a valid IPv{10 - found.version} address")
    if not slash:
        return found
    try:
        return with_length(value)
    except ValueError:
        raise wrong(
            f"{quoted(length)} is not a valid prefix length", "leave it out: the network sets it"
        ) from None


def mac(value: str) -> str:
    """Return a NIC's MAC address in lower case with colons."""
    text = value.lower().replace("-", ":")
    if not re.fullmatch("[0-9a-f]{2}(:[0-9a-f]{2}){5}", text):
        raise wrong(f"{quoted(value)} is not a valid MAC address", "six pairs such as 02:00:00:00:00:01")
    if int(text[:2], 16) & 1:
        raise wrong(f"{quoted(value)} is a multicast MAC address", "the first pair must be even")
    if text == "00:00:00:00:00:00":
        raise wrong(f"{quoted(value)} is not a valid MAC address for a NIC")
    return text
