"""Route tables: the rules of interface.md one by one."""

from __future__ import annotations

import pytest

from labrun.inventory.model import Lab
from labrun.inventory.topology.routing import Route, route_table
from tests.unit.small_labs import host, lab, network, two_networks


def shown(of: Lab, name: str) -> list[str]:
    return [text(route) for route in route_table(of, name)]


def text(route: Route) -> str:
    via = f" via {route.via}" if route.via else ""
    return f"{route.prefix}{via} on {route.network} ({route.origin})"


def chain(*, routing: str = "auto", uplink: str = "isolated") -> Lab:
    """Four networks in a row with a router between each two."""
    return lab(
        [network("n1", "10.0.1.0/24", uplink), *(network(f"n{i}", f"10.0.{i}.0/24") for i in (2, 3, 4))],
        [
            host("a", {"n1": "10.0.1.10/24"}),
            host("r1", {"n1": "10.0.1.251/24", "n2": "10.0.2.251/24"}, "router"),
            host("r2", {"n2": "10.0.2.252/24", "n3": "10.0.3.252/24"}, "router"),
            host("r3", {"n3": "10.0.3.253/24", "n4": "10.0.4.253/24"}, "router"),
            host("b", {"n4": "10.0.4.10/24"}),
        ],
        routing,
    )


def test_hosts_behind_the_only_router_get_it_as_their_gateway() -> None:
    assert shown(two_networks(), "host01") == [
        "0.0.0.0/0 via 172.16.0.254 on network1 (gateway)",
        "172.16.0.0/24 on network1 (connected)",
    ]


def test_a_dhcp_host_behind_a_lab_router_carries_the_route_itself() -> None:
    assert shown(two_networks(), "host04")[0] == "0.0.0.0/0 via 172.17.0.254 on network2 (gateway)"


def test_the_router_of_isolated_networks_has_no_default() -> None:
    assert shown(two_networks(), "host00") == [
        "172.16.0.0/24 on network1 (connected)",
        "172.17.0.0/24 on network2 (connected)",
    ]


def test_routers_know_every_network_they_do_not_touch() -> None:
    assert shown(chain(), "r1") == [
        "10.0.1.0/24 on n1 (connected)",
        "10.0.2.0/24 on n2 (connected)",
        "10.0.3.0/24 via 10.0.2.252 on n2 (topology)",
        "10.0.4.0/24 via 10.0.2.252 on n2 (topology)",
    ]
    assert shown(chain(), "r2")[0] == "10.0.1.0/24 via 10.0.2.251 on n2 (topology)"


def test_manual_routing_turns_the_topology_routes_off() -> None:
    assert shown(chain(routing="manual"), "r1") == [
        "10.0.1.0/24 on n1 (connected)",
        "10.0.2.0/24 on n2 (connected)",
    ]


def test_routers_lead_towards_the_nearest_uplink() -> None:
    of = chain(uplink="nat")
    assert shown(of, "r1")[0] == "0.0.0.0/0 via 10.0.1.1 on n1 (gateway)"
    assert shown(of, "r2")[0] == "0.0.0.0/0 via 10.0.2.251 on n2 (gateway)"
    assert shown(of, "r3")[0] == "0.0.0.0/0 via 10.0.3.252 on n3 (gateway)"
    assert shown(of, "a")[0] == "0.0.0.0/0 via 10.0.1.251 on n1 (gateway)"


def test_an_uplink_behind_a_router_without_gateway_leads_nowhere() -> None:
    of = lab(
        [network("up", "10.0.1.0/24", "nat"), network("down", "10.0.2.0/24"), network("far", "10.0.3.0/24")],
        [
            host("r1", {"up": "10.0.1.2/24", "down": "10.0.2.2/24"}, "router", gateway="none"),
            host("r2", {"down": "10.0.2.3/24", "far": "10.0.3.3/24"}, "router"),
        ],
    )
    assert not [line for line in shown(of, "r2") if line.startswith("0.0.0.0/0")]


def test_equal_paths_take_the_neighbour_first_in_the_file() -> None:
    square = [network(f"n{i}", f"10.0.{i}.0/24") for i in (1, 2, 3)]
    left = host("left", {"n2": "10.0.2.2/24", "n3": "10.0.3.2/24"}, "router")
    right = host("right", {"n2": "10.0.2.3/24", "n3": "10.0.3.3/24"}, "router")
    start = host("start", {"n1": "10.0.1.1/24", "n2": "10.0.2.1/24"}, "router")
    assert "10.0.3.0/24 via 10.0.2.2 on n2 (topology)" in shown(lab(square, [start, left, right]), "start")
    assert "10.0.3.0/24 via 10.0.2.3 on n2 (topology)" in shown(lab(square, [start, right, left]), "start")


@pytest.mark.parametrize("mode", ["nat", "route", "open"])
def test_without_a_router_the_hypervisor_is_the_gateway(mode: str) -> None:
    of = lab(
        [network("up", "192.168.7.0/24", mode)],
        [host("fixed", {"up": "192.168.7.5/24"}), host("leased", {"up": "dhcp 192.168.7.200/24"})],
    )
    assert shown(of, "fixed")[0] == "0.0.0.0/0 via 192.168.7.1 on up (gateway)"
    assert shown(of, "leased")[0] == "0.0.0.0/0 via 192.168.7.1 on up (dhcp)"


@pytest.mark.parametrize("mode", ["isolated", "very-isolated"])
def test_without_router_and_uplink_there_is_no_default(mode: str) -> None:
    of = lab([network("alone", "192.168.7.0/24", mode)], [host("a", {"alone": "192.168.7.5/24"})])
    assert shown(of, "a") == ["192.168.7.0/24 on alone (connected)"]


def test_of_several_routers_the_one_on_the_first_network_wins_then_file_order() -> None:
    networks = [network("n1", "10.0.1.0/24"), network("n2", "10.0.2.0/24")]
    early = host("early", {"n2": "10.0.2.2/24"}, "router")
    late = host("late", {"n1": "10.0.1.3/24"}, "router")
    later = host("later", {"n1": "10.0.1.4/24"}, "router")
    both = host("both", {"n1": "10.0.1.9/24", "n2": "10.0.2.9/24"})
    other = host("other", {"n2": "10.0.2.8/24", "n1": "10.0.1.8/24"})
    of = lab(networks, [early, late, later, both, other])
    assert shown(of, "both")[0] == "0.0.0.0/0 via 10.0.1.3 on n1 (gateway)"
    assert shown(of, "other")[0] == "0.0.0.0/0 via 10.0.2.2 on n2 (gateway)"


def test_gateway_by_name_by_address_and_none() -> None:
    networks = [network("n1", "10.0.1.0/24")]
    hosts = [
        host("r1", {"n1": "10.0.1.1/24"}, "router"),
        host("r2", {"n1": "10.0.1.2/24"}, "router"),
        host("named", {"n1": "10.0.1.11/24"}, gateway="r2"),
        host("addressed", {"n1": "10.0.1.12/24"}, gateway="10.0.1.77"),
        host("without", {"n1": "10.0.1.13/24"}, gateway="none"),
    ]
    of = lab(networks, hosts)
    assert shown(of, "named")[0] == "0.0.0.0/0 via 10.0.1.2 on n1 (gateway)"
    assert shown(of, "addressed")[0] == "0.0.0.0/0 via 10.0.1.77 on n1 (gateway)"
    assert shown(of, "without") == ["10.0.1.0/24 on n1 (connected)"]


def test_a_declared_route_beats_a_derived_one_to_the_same_prefix() -> None:
    networks = [network(f"n{i}", f"10.0.{i}.0/24") for i in (1, 2, 3)]
    hosts = [
        host("r1", {"n1": "10.0.1.1/24", "n2": "10.0.2.1/24"}, "router", routes={"10.0.3.0/24": "10.0.2.99"}),
        host("r2", {"n2": "10.0.2.2/24", "n3": "10.0.3.2/24"}, "router", routes={"0.0.0.0/0": "10.0.2.1"}),
    ]
    of = lab(networks, hosts)
    assert "10.0.3.0/24 via 10.0.2.99 on n2 (static)" in shown(of, "r1")
    assert shown(of, "r2")[0] == "0.0.0.0/0 via 10.0.2.1 on n2 (static)"


def test_ipv6_has_a_table_of_its_own() -> None:
    networks = [
        network("n1", "10.0.1.0/24", cidr6="fd00:1::/64"),
        network("n2", "10.0.2.0/24", cidr6="fd00:2::/64"),
        network("n3", "10.0.3.0/24"),
    ]
    hosts = [
        host("r1", {"n1": "10.0.1.1/24 fd00:1::fe/64", "n2": "10.0.2.1/24 fd00:2::fe/64"}, "router"),
        host("r2", {"n2": "10.0.2.2/24 fd00:2::2/64", "n3": "10.0.3.2/24"}, "router"),
        host("a", {"n1": "10.0.1.5/24 fd00:1::5/64"}, gateway="10.0.1.1"),
        host("b", {"n3": "10.0.3.5/24"}),
    ]
    of = lab(networks, hosts)
    assert shown(of, "a")[2:] == [
        "::/0 via fd00:1::fe on n1 (gateway)",
        "fd00:1::/64 on n1 (connected)",
    ]
    assert "fd00:1::/64 via fd00:2::fe on n2 (topology)" in shown(of, "r2")
    assert not [line for line in shown(of, "b") if "::" in line]


def test_an_unknown_host_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="host99"):
        route_table(two_networks(), "host99")
