"""Derive MAC and DHCP addresses from names alone, so that adding a host does not change any other host's.

A name is hashed to its slot. Only names that hash to the same slot affect each other, and then the order of
names decides, never the file order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Final

from labrun.inventory.model import DhcpRange

__all__ = [
    "default_range",
    "derived_macs",
    "hypervisor_address",
    "is_link",
    "leased_addresses",
    "leased_addresses6",
    "misfit",
    "range6",
    "with_length",
]

# libvirt rejects a larger range; its dnsmasq keeps one lease record per address.
LARGEST_RANGE: Final = 65_535
_DEFAULT_SPAN: Final = 32_768
_FIRST_BLOCK: Final = 65_536


def derived_macs(
    lab: str, nics: Iterable[tuple[str, str]], taken: Collection[str] = ()
) -> dict[tuple[str, str], str]:
    """Return the MAC of every (host, NIC): ``02`` and 40 bits of hash.

    ``taken`` are the declared MACs. If two collide, the later one in name order is hashed again.
    """
    used, macs = set(taken), {}
    for host, nic in sorted(set(nics)):
        attempt = 0
        while (mac := _mac(lab, host, nic, attempt)) in used:
            attempt += 1
        used.add(mac)
        macs[host, nic] = mac
    return macs


def leased_addresses(
    lab: str, nics: Iterable[tuple[str, str]], span: DhcpRange, taken: Collection[IPv4Address]
) -> Mapping[tuple[str, str], IPv4Address]:
    """Return the reserved address of every ``dhcp`` NIC of a network, by host and NIC, within ``span``.

    A NIC gets its slot if it is free; of several with the same slot, the first by name gets it. The
    others then take the next free slot, in name order. NICs for which no address is left are omitted.
    """
    places = _places(lab, nics, (int(span.first), int(span.last)), taken)
    return {nic: IPv4Address(number) for nic, number in places.items()}


def leased_addresses6(
    lab: str,
    nics: Iterable[tuple[str, str]],
    span: tuple[IPv6Address, IPv6Address],
    taken: Collection[IPv6Address],
) -> Mapping[tuple[str, str], IPv6Address]:
    """Return the reserved IPv6 address of every ``ipv6: dhcp`` NIC of a network, as for IPv4."""
    places = _places(lab, nics, (int(span[0]), int(span[1])), taken)
    return {nic: IPv6Address(number) for nic, number in places.items()}


def range6(subnet: IPv6Network, own: IPv6Address) -> tuple[IPv6Address, IPv6Address] | None:
    """Return the range of DHCPv6: the upper half of a subnet, or of its first 65,536 addresses.

    None if the hypervisor's ``own`` address leaves none.
    """
    size = min(subnet.num_addresses, _FIRST_BLOCK)
    first, last = subnet[size // 2], subnet[size - 1]
    if first <= own <= last:
        below, above = int(own) - int(first), int(last) - int(own)
        first, last = (own + 1, last) if above >= below else (first, own - 1)
    return (first, last) if first <= last else None


def _places(
    lab: str,
    nics: Iterable[tuple[str, str]],
    span: tuple[int, int],
    taken: Collection[IPv4Address] | Collection[IPv6Address],
) -> dict[tuple[str, str], int]:
    first, size = span[0], span[1] - span[0] + 1
    blocked = {int(address) - first for address in taken}
    places: dict[int, tuple[str, str]] = {}
    waiting: list[tuple[tuple[str, str], int]] = []
    for host, nic in sorted(set(nics)):
        home = _number(lab, host, nic, "address") % size
        if home in blocked or home in places:
            waiting.append(((host, nic), home))
        else:
            places[home] = host, nic
    free = size - len(places) - sum(0 <= place < size for place in blocked)
    for waiter, home in waiting[: max(free, 0)]:
        while home in blocked or home in places:
            home = (home + 1) % size
        places[home] = waiter
    return {owner: first + place for place, owner in places.items()}


def hypervisor_address(
    subnet: IPv4Network | IPv6Network,
    hosts: Collection[IPv4Address | IPv6Address],
    routers: Collection[IPv4Address | IPv6Address],
    avoided: tuple[IPv4Address, IPv4Address] | None = None,
) -> IPv4Address | IPv6Address | None:
    """Return the address that the hypervisor takes on a subnet: the first, unless a router of the lab has it.

    Then, and on a link of two addresses, it is the first that none of ``hosts`` has and that is not in the
    ``avoided`` range; None if there is none.
    """
    first = next(iter(_usable(subnet)))
    if first not in routers and not is_link(subnet):
        return first
    for address in _usable(subnet):
        inside = isinstance(address, IPv4Address) and avoided and avoided[0] <= address <= avoided[1]
        if address not in hosts and not inside:
            return address
    return None


def _usable(subnet: IPv4Network | IPv6Network) -> Iterable[IPv4Address | IPv6Address]:
    return subnet.hosts()


def is_link(subnet: IPv4Network | IPv6Network) -> bool:
    """Tell whether a subnet is /31 or /127: two addresses, both of them for hosts (RFC 3021, RFC 6164)."""
    return subnet.num_addresses == 2


def misfit(address: IPv4Address | IPv6Address, subnet: IPv4Network | IPv6Network) -> str | None:
    """Return why nothing on a subnet can have an address in it, None if something can."""
    if is_link(subnet):
        return None
    if address == subnet.network_address:
        return f"{address} is the address of the subnet {subnet} itself"
    if isinstance(subnet, IPv4Network) and address == subnet.broadcast_address:
        return f"{address} is the broadcast address of {subnet}"
    return None


def with_length(
    address: IPv4Address | IPv6Address, subnet: IPv4Network | IPv6Network
) -> IPv4Interface | IPv6Interface:
    """Return an address with the prefix length of its subnet."""
    if isinstance(address, IPv4Address):
        return IPv4Interface((address, subnet.prefixlen))
    return IPv6Interface((address, subnet.prefixlen))


def default_range(cidr: IPv4Network, own: IPv4Address) -> DhcpRange | None:
    """Return the upper half of a subnet (at most 32,768 addresses), without its broadcast address.

    Of a half that holds the hypervisor's ``own`` address it is the larger part beside that. None if nothing
    is left.
    """
    last = int(cidr.broadcast_address) - 1
    half = min(cidr.num_addresses // 2, _DEFAULT_SPAN)
    first = max(last + 2 - half, int(cidr.network_address) + 2)
    if first <= int(own) <= last:
        below, above = (first, int(own) - 1), (int(own) + 1, last)
        first, last = above if above[1] - above[0] >= below[1] - below[0] else below
    return DhcpRange(IPv4Address(first), IPv4Address(last)) if first <= last else None


def _mac(lab: str, host: str, nic: str, attempt: int) -> str:
    use = f"mac {attempt}" if attempt else "mac"
    digest = _number(lab, host, nic, use).to_bytes(8, "big")
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def _number(lab: str, host: str, nic: str, use: str) -> int:
    # Names hold no newline, so the joined text is unambiguous.
    digest = hashlib.sha256("\n".join(("labrun", use, lab, host, nic)).encode()).digest()
    return int.from_bytes(digest[:8], "big")
