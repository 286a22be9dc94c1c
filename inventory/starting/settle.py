"""Derive what a draft leaves open: subnets, addresses, roles, and a way in for labrun."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Network

from labrun.inventory.starting.draft import Address, Draft, DraftHost, DraftNetwork, DraftNic, Subnet
from labrun.inventory.starting.names import unique
from labrun.inventory.starting.numbering import LINK, SERVED, is_end, number

__all__ = ["settle"]

_WAY_IN = "way-in"


def settle(draft: Draft) -> None:
    """Complete a draft in place, so that a lab file can be written from it.

    Subnets are those of the addresses on the network. Where there are none, each link gets a /31, each
    other network a /24, out of a /16 that depends on the lab's name; what does not fit together is left out.
    """
    _drop_lone_ends(draft)
    _tell_names_apart(draft)
    for host in draft.hosts.values():
        if host.router is None:
            host.router = len({nic.network for nic in host.nics}) > 1
    taken: list[Subnet] = []
    for called, network in draft.networks.items():
        _take_subnets(draft, called, network, taken)
    pool = _pool(draft.name, taken)
    for called, network in draft.networks.items():
        is_link = _is_link(draft, called, network)
        _choose_mode(network)
        if not network.subnets and network.mode not in ("bridge", "macvtap"):
            network.subnets.append(_next_subnet(pool, 31 if is_link else 24, taken))
            if network.subnets[0].prefixlen == 31:
                network.mode = "very-isolated"
    for called, network in draft.networks.items():
        number(draft, called, network)
    _keep_reachable_routes(draft)
    _ways_in(draft, pool, taken)
    draft.left_out.sort(key=lambda entry: (entry.line == 0, entry.line))


def _drop_lone_ends(draft: Draft) -> None:
    for called in [name for name in draft.networks if not list(draft.nics_on(name))]:
        draft.leave_out(f"network {draft.networks[called].name}", "no machine is on it")
        del draft.networks[called]


def _tell_names_apart(draft: Draft) -> None:
    """Rename networks that are called like a host: a name means one thing in a lab file."""
    taken = {host.name for host in draft.hosts.values()} | {each.name for each in draft.networks.values()}
    for network in draft.networks.values():
        if network.name in {host.name for host in draft.hosts.values()}:
            network.name = unique(f"{network.name}-net", taken)
            taken.add(network.name)


def _is_link(draft: Draft, called: str, network: DraftNetwork) -> bool:
    return network.is_link and network.mode is None and len(list(draft.nics_on(called))) == 2


def _take_subnets(draft: Draft, called: str, network: DraftNetwork, taken: list[Subnet]) -> None:
    """Find a network's subnets, one for each IP version, and drop the addresses that lie in no subnet."""
    chosen: dict[int, Subnet] = {}
    offered = [*network.subnets]
    offered += [each.network for _, nic in draft.nics_on(called) for each in nic.addresses]
    for subnet in offered:
        if subnet.version in chosen or subnet.prefixlen == subnet.max_prefixlen or subnet.prefixlen < 8:
            continue
        rival = next(
            (each for each in taken if each.version == subnet.version and each.overlaps(subnet)), None
        )
        if rival is not None:
            draft.leave_out(f"network {network.name}: {subnet}", f"overlaps {rival} of another network")
            continue
        if subnet.is_loopback or subnet.is_multicast or subnet.is_link_local:
            continue
        chosen[subnet.version] = subnet
    network.subnets = [chosen[version] for version in sorted(chosen)]
    taken += network.subnets
    seen: set[Address] = set()
    for host, nic in draft.nics_on(called):
        kept = []
        for each in nic.addresses:
            inside = chosen.get(each.version)
            why = None
            if inside is None or each.ip not in inside:
                why = "outside the network's subnet"
            elif each.ip in seen:
                why = "another machine has it"
            elif is_end(each.ip, inside):
                why = "the subnet's own address"
            if why is None:
                seen.add(each.ip)
                kept.append(each)
            else:
                draft.leave_out(f"{host.name}: address {each}", why)
        nic.addresses = kept


def _choose_mode(network: DraftNetwork) -> None:
    if network.mode is None:
        cramped = all(subnet.prefixlen >= LINK[subnet.version] for subnet in network.subnets)
        network.mode = "very-isolated" if network.subnets and cramped else "isolated"


def _pool(name: str, taken: list[Subnet]) -> IPv4Network:
    """Return the /16 for what is derived: by the lab's name, or the next one that nothing overlaps."""
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big") % 128
    for step in range(128):
        pool = IPv4Network((f"10.{128 + (start + step) % 128}.0.0", 16))
        if not any(each.version == 4 and each.overlaps(pool) for each in taken):
            return pool
    return IPv4Network("192.168.0.0/16")


def _next_subnet(pool: IPv4Network, length: int, taken: list[Subnet]) -> IPv4Network:
    """Return the next free subnet of the pool: links from its upper half, the others from its lower."""
    half = list(pool.subnets(1))[length == 31]
    for subnet in half.subnets(new_prefix=length):
        if not any(each.version == 4 and each.overlaps(subnet) for each in taken):
            taken.append(subnet)
            return subnet
    raise AssertionError("a draft has fewer networks than a pool has subnets")


def _keep_reachable_routes(draft: Draft) -> None:
    """Drop gateways and next hops that no machine of the lab has on a network of the host."""
    owners: dict[tuple[str, Address], str] = {
        (nic.network, each.ip): host.name
        for host in draft.hosts.values()
        for nic in host.nics
        for each in nic.addresses
    }
    for host in draft.hosts.values():
        on = {nic.network for nic in host.nics}

        def is_neighbour(hop: Address, on: set[str] = on, own: DraftHost = host) -> bool:
            return any(owners.get((network, hop), own.name) != own.name for network in on)

        subnets = [each for name in on for each in draft.networks[name].subnets]
        for hop in [each for each in host.gateways if not is_neighbour(each)]:
            draft.leave_out(
                f"{host.name}: default route via {hop}", "no neighbour in the lab has this address"
            )
            host.gateways.remove(hop)
        for route in [each for each in host.routes if not is_neighbour(each[1])]:
            draft.leave_out(
                f"{host.name}: route to {route[0]} via {route[1]}", "no neighbour has this address"
            )
            host.routes.remove(route)
        for route in [each for each in host.routes if each[0] in subnets]:
            draft.leave_out(f"{host.name}: route to {route[0]}", "the host is connected to it")
            host.routes.remove(route)
        for version in (4, 6):
            for further in [each for each in host.gateways if each.version == version][1:]:
                draft.leave_out(f"{host.name}: default route via {further}", "it has another one already")
                host.gateways.remove(further)


def _ways_in(draft: Draft, pool: IPv4Network, taken: list[Subnet]) -> None:
    """Add a network with the hypervisor on it, to one host, for each part of the lab that has none."""
    for part in _parts(draft):
        if any(draft.networks[nic.network].mode in (*SERVED, "bridge") for host in part for nic in host.nics):
            continue
        first = next((host for host in part if host.router), part[0])
        network = draft.add_network(_next_way_in(draft), "labrun logs in here, and from here to the others")
        network.mode = "isolated"
        network.subnets.append(_next_subnet(pool, 24, taken))
        called = next(name for name, each in draft.networks.items() if each is network)
        first.nics.append(DraftNic(called, "added", dhcp=True))


def _next_way_in(draft: Draft) -> str:
    number = 1
    while (called := _WAY_IN if number == 1 else f"{_WAY_IN}{number}") in draft.networks:
        number += 1
    return called


def _parts(draft: Draft) -> list[list[DraftHost]]:
    """Return the hosts in parts: what is connected, over whatever networks, is one."""
    left = list(draft.hosts.values())
    parts = []
    while left:
        part = [left.pop(0)]
        reached = {nic.network for nic in part[0].nics}
        while near := [host for host in left if reached & {nic.network for nic in host.nics}]:
            for host in near:
                left.remove(host)
                part.append(host)
                reached |= {nic.network for nic in host.nics}
        parts.append([host for host in draft.hosts.values() if any(host is each for each in part)])
    return parts
