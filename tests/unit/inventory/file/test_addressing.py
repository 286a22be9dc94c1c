"""Derived MAC and DHCP addresses: unique, in their range, and nobody moves when a host joins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.inventory.file.addressing import default_range, derived_macs, hypervisor_address, leased_addresses
from labrun.inventory.model import DhcpRange

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
HOSTS = st.lists(NAMES, unique=True, max_size=60)
START = IPv4Address("10.1.0.16")
SIZES = st.integers(min_value=1, max_value=80)


def span(size: int) -> DhcpRange:
    return DhcpRange(START, START + size - 1)


def leased(
    lab: str, network: str, hosts: Iterable[str], span: DhcpRange, taken: Collection[IPv4Address]
) -> dict[str, IPv4Address]:
    """Return the addresses of hosts that have one NIC each, named after the network."""
    return {host: each for (host, _), each in leased_addresses(lab, _on(network, hosts), span, taken).items()}


def _on(network: str, hosts: Iterable[str]) -> list[tuple[str, str]]:
    return [(host, network) for host in hosts]


def moved(before: Mapping[str, IPv4Address], after: Mapping[str, IPv4Address]) -> set[str]:
    return {host for host in before if after.get(host) != before[host]}


@given(NAMES, NAMES, HOSTS, SIZES, st.sets(st.integers(0, 90)))
def test_leases_are_unique_and_in_the_range_beside_the_taken(
    lab: str, network: str, hosts: list[str], size: int, taken: set[int]
) -> None:
    blocked = {START + offset for offset in taken}
    found = leased(lab, network, hosts, span(size), blocked)
    assert len(set(found.values())) == len(found)
    assert all(START <= address < START + size and address not in blocked for address in found.values())
    free = size - sum(offset < size for offset in taken)
    assert len(found) == min(len(hosts), free)


@given(NAMES, NAMES, HOSTS, SIZES, st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_matter(
    lab: str, network: str, hosts: list[str], size: int, random: object
) -> None:
    other = list(reversed(hosts))
    assert leased(lab, network, hosts, span(size), ()) == leased(lab, network, other, span(size), ())


@given(NAMES, NAMES, HOSTS, NAMES)
def test_a_new_host_moves_nobody_but_by_a_collision(
    lab: str, network: str, hosts: list[str], new: str
) -> None:
    wide = DhcpRange(IPv4Address("10.0.0.0"), IPv4Address("10.0.15.255"))
    before = leased(lab, network, hosts, wide, ())
    after = leased(lab, network, [*hosts, new], wide, ())
    alone = {host: leased(lab, network, [host], wide, ())[host] for host in [*hosts, new]}
    collides = list(alone.values()).count(alone[new]) > 1 or after[new] != alone[new]
    displaced = {host for host in hosts if before[host] != alone[host]}
    if new in hosts:
        assert after == before
    elif not collides:
        assert moved(before, after) <= displaced
    else:
        assert moved(before, after) <= displaced | {host for host in hosts if alone[host] == alone[new]}


def test_a_full_range_gives_every_address_and_leaves_the_last_out() -> None:
    found = leased("demo", "n", [f"h{n}" for n in range(9)], span(8), ())
    assert sorted(map(str, found.values())) == [f"10.1.0.{n}" for n in range(16, 24)]


def test_of_two_on_one_place_the_first_by_name_has_it() -> None:
    one = span(1)
    assert set(leased("demo", "n", ["b", "a"], one, ())) == {"a"}


@given(NAMES, st.lists(st.tuples(NAMES, NAMES), unique=True, max_size=80))
def test_macs_are_unique_unicast_and_local(lab: str, nics: list[tuple[str, str]]) -> None:
    macs = derived_macs(lab, nics)
    assert set(macs) == set(nics)
    assert len(set(macs.values())) == len(nics)
    assert all(mac.startswith("02:") and len(mac) == 17 for mac in macs.values())


@given(NAMES, st.lists(st.tuples(NAMES, NAMES), unique=True, min_size=1, max_size=20))
def test_a_mac_gives_way_to_a_declared_one_and_nobody_else_moves(
    lab: str, nics: list[tuple[str, str]]
) -> None:
    before = derived_macs(lab, nics)
    declared = before[nics[0]]
    after = derived_macs(lab, nics, {declared})
    assert declared not in after.values()
    assert {nic for nic in nics if after[nic] != before[nic]} == {nics[0]}


@given(st.integers(min_value=2, max_value=30), st.integers(min_value=0, max_value=2**32 - 1))
def test_the_default_range_is_in_the_upper_half_beside_the_hypervisor(length: int, number: int) -> None:
    subnet = IPv4Network((number, length), strict=False)
    own = subnet.network_address + 1
    found = default_range(subnet, own)
    assert found is not None
    assert own < found.first <= found.last < subnet.broadcast_address
    assert int(found.first) >= int(subnet.network_address) + subnet.num_addresses // 2
    assert int(found.last) - int(found.first) < 32_768


@given(st.integers(min_value=16, max_value=31), st.data())
def test_the_default_range_goes_around_the_hypervisor_s_address(length: int, data: st.DataObject) -> None:
    subnet = IPv4Network((10 << 24, length))
    own = data.draw(st.sampled_from(list(subnet.hosts())[-300:]))
    found = default_range(subnet, own)
    ordinary = default_range(subnet, subnet.network_address + 1) if length < 31 else None
    if found is None:
        assert length >= 30
        return
    assert ordinary is not None
    assert not found.first <= own <= found.last
    assert ordinary.first <= found.first <= found.last <= ordinary.last
    # At most half of it is lost.
    lost = (int(ordinary.last) - int(ordinary.first)) - (int(found.last) - int(found.first))
    assert 2 * lost <= int(ordinary.last) - int(ordinary.first) + 2


@pytest.mark.parametrize(
    ("subnet", "hosts", "routers", "avoided", "own"),
    [
        ("10.1.0.0/24", [], [], None, "10.1.0.1"),
        # A host at the first address is told that the hypervisor has it.
        ("10.1.0.0/24", ["10.1.0.1"], [], None, "10.1.0.1"),
        ("10.1.0.0/24", ["10.1.0.1", "10.1.0.2"], ["10.1.0.1"], None, "10.1.0.3"),
        ("10.1.0.0/24", ["10.1.0.1"], ["10.1.0.1"], ("10.1.0.2", "10.1.0.99"), "10.1.0.100"),
        ("10.1.0.0/30", ["10.1.0.1", "10.1.0.2"], ["10.1.0.1"], None, None),
        ("10.1.0.0/31", [], [], None, "10.1.0.0"),
        ("10.1.0.0/31", ["10.1.0.0"], [], None, "10.1.0.1"),
        ("10.1.0.0/31", ["10.1.0.0", "10.1.0.1"], [], None, None),
        ("fd00::/64", [], [], None, "fd00::1"),
        ("fd00::/64", ["fd00::1"], ["fd00::1"], None, "fd00::2"),
        ("fd00::/127", ["fd00::"], [], None, "fd00::1"),
        ("fd00::/127", ["fd00::", "fd00::1"], ["fd00::1"], None, None),
    ],
)
def test_the_hypervisor_leaves_the_first_address_to_a_router(
    subnet: str, hosts: list[str], routers: list[str], avoided: tuple[str, str] | None, own: str | None
) -> None:
    span = (IPv4Address(avoided[0]), IPv4Address(avoided[1])) if avoided else None
    found = hypervisor_address(
        ip_network(subnet), {ip_address(host) for host in hosts}, {ip_address(each) for each in routers}, span
    )
    assert found == (ip_address(own) if own else None)
