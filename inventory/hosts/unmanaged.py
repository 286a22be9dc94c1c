"""Existing machines: find the NIC that is on a network if the file gives no MAC."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network

from labrun.inventory.model import Address, Host, Interface, Network

__all__ = ["marked_nic", "marks_of", "reached_at"]


def reached_at(host: Host) -> Address | None:
    """Return the IP address in ``address:``, None if it is a name or labrun creates the machine."""
    try:
        return ip_address(host.address) if host.address is not None else None
    except ValueError:
        return None


def marks_of(host: Host, nic: Interface, network: Network) -> list[str]:
    """Return the prefixes that identify the NIC, the most reliable first, as JSON-able text.

    First the addresses that the file gives it, then the machine's ``address:`` if that is on this network,
    and last the network's subnets. For one of several NICs on the network, only the
    first tell it from the others.
    """
    certain = [given.ip for given in nic.addresses]
    if len(host.nics_on(network.name)) > 1:
        return [str(ip_network(address)) for address in certain]
    subnets = [subnet for subnet in (network.cidr, network.cidr6) if subnet is not None]
    answers = reached_at(host)
    if answers is not None and any(answers in subnet for subnet in subnets):
        certain.append(answers)
    return list(dict.fromkeys([*(str(ip_network(address)) for address in certain), *map(str, subnets)]))


def marked_nic(
    marks: Iterable[str], shown: Mapping[str, Collection[IPv4Interface | IPv6Interface]]
) -> str | None:
    """Return the NIC that the first conclusive mark identifies among ``shown``, the addresses by NIC.

    A mark is conclusive if exactly one NIC has an address in it. None if no mark is.
    """
    for mark in map(ip_network, marks):
        holders = [
            name
            for name, addresses in shown.items()
            if any(each.version == mark.version and each.ip in mark for each in addresses)
        ]
        if len(holders) == 1:
            return holders[0]
    return None
