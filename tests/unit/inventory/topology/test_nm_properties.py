"""What a NIC's nmcli properties change: addresses, routes and the MTU, as a real NetworkManager took them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from labrun.inventory.model import Lab
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.nm_properties import mtu_of, nic_properties
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.routing import derived_routes, route_table
from labrun.tasks.collect.schedule import packet_size
from tests.unit.small_labs import dual_stack


def lab_with(properties: Mapping[str, str], name: str = "host01") -> Lab:
    """Return the dual-stack lab with properties on the first NIC of a host."""
    of = dual_stack()
    first, *others = of.hosts[name].interfaces
    host = replace(of.hosts[name], interfaces=(replace(first, nmcli=properties), *others))
    return replace(of, hosts={**of.hosts, name: host})


def routes(of: Lab, name: str = "host01") -> list[str]:
    return [
        f"{route.prefix} {route.via or route.kind}{'' if route.in_main else ' elsewhere'}"
        for route in route_table(of, name)
    ]


def addresses(of: Lab, name: str = "host01", network: str = "network1") -> list[str]:
    return [str(each) for each in expectations(of).addresses[name][network]]


PLAIN = [
    "0.0.0.0/0 172.16.0.254",
    "172.16.0.0/24 unicast",
    "::/0 fd00:16::fe",
    "fd00:16::/64 unicast",
]
V4, V6 = PLAIN[:2], PLAIN[2:]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"ipv4.routes": "10.9.0.0/16 172.16.0.12 50"}, [V4[0], "10.9.0.0/16 172.16.0.12", V4[1], *V6]),
        ({"ipv4.routes": "10.9.0.0/16"}, [V4[0], "10.9.0.0/16 unicast", V4[1], *V6]),
        ({"ipv4.routes": "10.9.0.1 172.16.0.12"}, [V4[0], "10.9.0.1/32 172.16.0.12", V4[1], *V6]),
        (
            {"ipv4.routes": "10.9.0.0/16 172.16.0.12 mtu=1400 onlink=true, 10.8.0.0/16 type=blackhole"},
            [V4[0], "10.8.0.0/16 blackhole", "10.9.0.0/16 172.16.0.12", V4[1], *V6],
        ),
        ({"ipv4.routes": "10.9.0.0/16 172.16.0.12 table=9"}, PLAIN),
        ({"ipv4.routes": "0.0.0.0/0 172.16.0.12 500"}, [V4[0], "0.0.0.0/0 172.16.0.12", *PLAIN[1:]]),
        ({"ipv4.gateway": "172.16.0.12"}, ["0.0.0.0/0 172.16.0.12", *PLAIN[1:]]),
        ({"ipv4.never-default": "yes"}, PLAIN[1:]),
        ({"ipv4.never-default": "yes", "ipv4.gateway": "172.16.0.12"}, PLAIN[1:]),
        ({"ipv4.route-table": "9"}, [f"{each} elsewhere" for each in V4] + V6),
        ({"ipv4.route-metric": "7"}, PLAIN),
        ({"ipv4.method": "disabled"}, V6),
        ({"ipv6.method": "ignore"}, V4),
        (
            {"ipv6.routes": "fd09::/64 fd00:16::12"},
            [*PLAIN[:3], "fd00:16::/64 unicast", "fd09::/64 fd00:16::12"],
        ),
        ({"ipv6.gateway": "fd00:16::12"}, [*V4, "::/0 fd00:16::12", V6[1]]),
        ({"ipv6.never-default": "true"}, [*V4, V6[1]]),
        # nmcli completes an unambiguous name; what it would refuse changes nothing.
        ({"ipv4.gate": "172.16.0.12"}, ["0.0.0.0/0 172.16.0.12", *PLAIN[1:]]),
        ({"ipv4.route": "10.9.0.0/16 172.16.0.12"}, PLAIN),
        ({"ipv4.routes": "default 172.16.0.12"}, PLAIN),
        ({"ipv4.gateway": "fd00::1"}, PLAIN),
        ({"802-1x.gateway": "172.16.0.12"}, PLAIN),
    ],
)
def test_routes_are_those_that_the_profile_gives(properties: Mapping[str, str], expected: list[str]) -> None:
    assert routes(lab_with(properties)) == expected


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, ["172.16.0.11/24", "fd00:16::11/64"]),
        (
            {"ipv4.addresses": "172.16.0.11/24,172.16.0.50/24, 172.30.0.1/32"},
            ["172.16.0.11/24", "172.16.0.50/24", "172.30.0.1/32", "fd00:16::11/64"],
        ),
        ({"ipv4.addr": "172.16.0.50"}, ["172.16.0.50/32", "fd00:16::11/64"]),
        (
            {"ipv6.addresses": "fd00:16::11/64, fd00:16::50/128"},
            ["172.16.0.11/24", "fd00:16::11/64", "fd00:16::50/128"],
        ),
        ({"ipv4.method": "disabled"}, ["fd00:16::11/64"]),
        ({"ipv4.method": "auto"}, ["172.16.0.11/24", "fd00:16::11/64"]),
        ({"ipv4.addresses": "172.16.0.11/24 172.16.0.50/24"}, ["172.16.0.11/24", "fd00:16::11/64"]),
    ],
)
def test_addresses_are_those_that_the_profile_gives(
    properties: Mapping[str, str], expected: list[str]
) -> None:
    assert addresses(lab_with(properties)) == expected


def test_an_address_on_another_subnet_brings_a_connected_route() -> None:
    of = lab_with({"ipv4.addresses": "172.16.0.11/24,172.30.0.1/24,172.31.0.1/32"})
    assert routes(of) == [V4[0], V4[1], "172.30.0.0/24 unicast", *V6]


def test_beside_dhcp_the_reservation_stays_and_routes_replace_the_default_that_the_profile_writes() -> None:
    given = {"ipv4.addresses": "172.17.0.50/24", "ipv4.routes": "10.9.0.0/16 172.17.0.11"}
    of = lab_with(given, "host04")
    assert addresses(of, "host04", "network2") == ["172.17.0.177/24", "172.17.0.50/24"]
    assert routes(of, "host04") == ["10.9.0.0/16 172.17.0.11", "172.17.0.0/24 unicast"]


def test_a_router_that_is_given_routes_has_no_others_on_that_nic() -> None:
    of = lab_with({"ipv4.routes": "10.9.0.0/16 172.16.0.12"}, "host00")
    assert "10.9.0.0/16 172.16.0.12" in routes(of, "host00")


def test_paths_follow_the_properties() -> None:
    of = lab_with({"ipv4.never-default": "yes"})
    assert str(paths(of, 4).path("host01", "host03").fault) == "host01: no route to 172.17.0.0/24"
    of = lab_with({"ipv4.routes": "172.17.0.0/24 type=blackhole"})
    assert str(paths(of, 4).path("host01", "host03").fault) == "host01: a blackhole route to 172.17.0.0/24"
    # Of two routes to one prefix the cheaper one counts.
    of = lab_with({"ipv4.routes": "0.0.0.0/0 172.16.0.12 50"})
    assert str(paths(of, 4).path("host01", "host03").fault) == "host02: does not forward"
    of = lab_with({"ipv4.routes": "0.0.0.0/0 172.16.0.12 500"})
    assert paths(of, 4).path("host01", "host03").fault is None


def test_the_largest_packet_of_a_path_is_that_of_its_narrowest_nic() -> None:
    of = lab_with({"802-3-ethernet.mtu": "1400"})
    path = paths(of, 4).path
    assert packet_size(of, path("host01", "host03")) == packet_size(of, path("host03", "host01")) == 1400
    assert packet_size(of, path("host02", "host03")) == 1500
    # A NIC wider than its network, or one that takes what it gets, narrows nothing.
    assert packet_size(lab_with({"ethernet.mtu": "9000"}), path("host01", "host03")) == 1500
    assert packet_size(lab_with({"ethernet.mtu": "auto"}), path("host01", "host03")) == 1500


def test_the_profile_that_labrun_writes_is_not_derived_from_its_own_properties() -> None:
    of = lab_with({"ipv4.never-default": "yes", "ipv4.routes": "10.9.0.0/16 172.16.0.12"})
    assert derived_routes(of, "host01") == route_table(dual_stack(), "host01")


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"802-3-ethernet.mtu": "1400"}, 1400),
        ({"ethernet.mtu": "1400"}, 1400),
        ({"ether.mt": "1400"}, 1400),
        ({"ethernet.mtu": "auto"}, 0),
        ({"ethernet.mtu": "0"}, 0),
        ({"ipv6.mtu": "1400"}, None),
        ({}, None),
    ],
)
def test_the_mtu_is_that_of_the_ethernet_setting(properties: Mapping[str, str], expected: int | None) -> None:
    nic = lab_with(properties).hosts["host01"].interfaces[0]
    assert mtu_of(nic) == expected


def test_a_nic_without_properties_says_nothing() -> None:
    said = nic_properties(dual_stack().hosts["host01"].interfaces[0], 4)
    assert (said.addresses, said.routes, said.gateway, said.method) == (None, None, None, "")
