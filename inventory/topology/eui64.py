"""The IPv6 addresses that a NIC makes from its MAC (RFC 4291, appendix A)."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from typing import Final

__all__ = ["interface_in", "link_local"]

_LINK_LOCAL: Final = IPv6Network("fe80::/64")


def interface_in(subnet: IPv6Network, mac: str) -> IPv6Interface:
    """Return the address of a NIC in a /64, with its prefix length; ``mac`` is six pairs with colons."""
    octets = bytearray(int(pair, 16) for pair in mac.split(":"))
    octets[0] ^= 2  # universal is 1 here and 0 in a MAC
    number = int.from_bytes(octets[:3] + b"\xff\xfe" + octets[3:], "big")
    return IPv6Interface((int(subnet.network_address) + number, subnet.prefixlen))


def link_local(mac: str) -> IPv6Address:
    """Return the link-local address of a NIC, as NetworkManager and the kernel give it by default."""
    return interface_in(_LINK_LOCAL, mac).ip
