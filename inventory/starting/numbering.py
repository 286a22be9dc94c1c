"""Give the NICs of a draft's network the addresses that the source leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface
from itertools import islice
from typing import Final

from labrun.inventory.starting.draft import Address, Draft, DraftNetwork, DraftNic, Subnet

__all__ = ["LINK", "SERVED", "is_end", "number"]

SERVED: Final = ("nat", "route", "open", "isolated")
"""The modes in which the hypervisor has an address, and serves DHCP."""
LINK: Final = {4: 30, 6: 126}
"""Prefix lengths from which on a network has no room for the hypervisor beside its two ends."""
_SOME: Final = 300
_FIRST_OF_SIX: Final = 16


def number(draft: Draft, called: str, network: DraftNetwork) -> None:
    """Give each NIC on the network that has no address one, in place.

    DHCP where the hypervisor serves it, else the next free one. A router gets the address that others have
    as their next hop, and one at the end of the subnet if there is none. Where the hypervisor's usual
    address is taken by a host, it gets another one.
    """
    subnets = {subnet.version: subnet for subnet in network.subnets}
    used = {each.ip for _, nic in draft.nics_on(called) for each in nic.addresses}
    _give_gateways(draft, called, network, used)
    if 4 in subnets:
        _number_four(draft, called, network, subnets[4], used)
    if 6 in subnets:
        _number_six(draft, called, subnets[6], used, alone=4 not in subnets)
    _move_hypervisor(draft, called, network, used)


def is_end(address: Address, subnet: Subnet) -> bool:
    """Return whether this is the subnet's own address or its broadcast address, which no host can have."""
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return False
    return address == subnet.network_address or (subnet.version == 4 and address == subnet.broadcast_address)


def _give(nic: DraftNic, address: Address, subnet: Subnet, used: set[Address]) -> None:
    used.add(address)
    nic.addresses.append(ip_interface(f"{address}/{subnet.prefixlen}"))


def _give_gateways(draft: Draft, called: str, network: DraftNetwork, used: set[Address]) -> None:
    hosts = [host for host, _ in draft.nics_on(called)]
    wanted = [hop for host in hosts for hop in (*host.gateways, *(via for _, via in host.routes))]
    for hop in dict.fromkeys(wanted):
        subnet = next((each for each in network.subnets if hop in each), None)
        if subnet is None or hop in used or is_end(hop, subnet):
            continue
        routers = (nic for host, nic in draft.nics_on(called) if host.router and not nic.addresses)
        router = next(routers, None)
        if router is not None:
            _give(router, hop, subnet, used)


def _move_hypervisor(draft: Draft, called: str, network: DraftNetwork, used: set[Address]) -> None:
    if network.mode not in SERVED or network.hypervisor:
        return
    owners = {each.ip: host for host, nic in draft.nics_on(called) for each in nic.addresses}
    for subnet in network.subnets:
        owner = owners.get(subnet[1])
        # The hypervisor makes room for a router by itself.
        if owner is None or owner.router or subnet.prefixlen >= subnet.max_prefixlen - 1:
            continue
        free = _last_free(subnet, used)
        network.hypervisor[subnet.version] = "none" if free is None else str(free)


def _last_free(subnet: Subnet, used: set[Address]) -> Address | None:
    last = (subnet[-place] for place in range(2, min(_SOME, subnet.num_addresses - 1)))
    return next((address for address in last if address not in used), None)


def _number_four(
    draft: Draft, called: str, network: DraftNetwork, subnet: Subnet, used: set[Address]
) -> None:
    has_room = subnet.prefixlen < LINK[4]
    serves = network.mode in SERVED and network.dhcp is not False and has_room
    has_router = any(host.router and nic.addresses for host, nic in draft.nics_on(called))
    for host, nic in draft.nics_on(called):
        if nic.addresses:
            nic.dhcp = False
            continue
        if serves and (has_router or not host.router):
            nic.dhcp = True
            continue
        has_router = has_router or bool(host.router)
        free = _last_free(subnet, used) if has_room else _first_free(subnet, used)
        if free is None:
            draft.leave_out(f"{host.name} on {network.name}: an address", f"{subnet} has none left")
        else:
            nic.dhcp = False
            _give(nic, free, subnet, used)


def _first_free(subnet: Subnet, used: set[Address]) -> Address | None:
    is_whole = subnet.prefixlen >= subnet.max_prefixlen - 1
    candidates: Iterator[Address] = iter(subnet) if is_whole else subnet.hosts()
    return next((address for address in islice(candidates, _SOME) if address not in used), None)


def _number_six(draft: Draft, called: str, subnet: Subnet, used: set[Address], *, alone: bool) -> None:
    """Number all NICs if the source gives none of them an IPv6 address; else those without any address."""
    nics = [nic for _, nic in draft.nics_on(called)]
    given = any(each.version == 6 for nic in nics for each in nic.addresses)
    is_whole = subnet.prefixlen >= subnet.max_prefixlen - 1
    place = 0 if is_whole else 1 if subnet.prefixlen >= LINK[6] else _FIRST_OF_SIX
    for nic in nics:
        if given and (nic.addresses or not alone):
            continue
        while place < subnet.num_addresses and subnet[place] in used:
            place += 1
        if place < subnet.num_addresses:
            _give(nic, subnet[place], subnet, used)
            if alone:
                nic.dhcp = False
