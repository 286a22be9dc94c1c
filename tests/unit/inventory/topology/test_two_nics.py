"""Two NICs on one network, as Linux has them: both receive, and what is sent leaves by the first."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from labrun.errors import LabFileError
from labrun.inventory.hosts.exports import FORMATS
from labrun.inventory.hosts.locate import locate
from labrun.inventory.kernel_values import role_values
from labrun.inventory.topology.derived_checks import derived_trials
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.forwarding import forwarding
from labrun.inventory.topology.groups import group_members
from labrun.inventory.topology.jump_hosts import jumps
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.reach import Connection, reach
from labrun.inventory.topology.routing import route_table
from labrun.inventory.topology.way_in import way_in
from labrun.ports import Lease
from labrun.tasks.configure.sysctl import Sysctl
from tests.unit.twin_lab import TWINS, lab_of, twins


class Leases:
    """Leases that guests hold now."""

    def __init__(self, *found: Lease) -> None:
        self.found = found

    def leases(self, networks: object) -> tuple[Lease, ...]:
        return self.found


def routes(name: str, text: str = TWINS) -> list[tuple[str, str, str, int]]:
    table = route_table(lab_of(text), name)
    return [(str(each.prefix), str(each.via or "-"), each.nic, each.metric) for each in table]


def test_each_nic_has_a_connected_route_and_the_first_one_s_is_taken() -> None:
    assert routes("h") == [
        ("0.0.0.0/0", "10.0.0.2", "left", 100),
        ("10.0.0.0/24", "-", "left", 100),
        ("10.0.0.0/24", "-", "left2", 200),
        ("10.0.0.0/24", "-", "left3", 300),
        ("fd00:1::/64", "-", "left", 100),
        ("fd00:1::/64", "-", "left2", 200),
    ]
    assert {route.network for route in route_table(twins(), "h")} == {"left"}


def test_the_order_in_the_file_decides_which_is_the_first() -> None:
    turned = TWINS.replace('      left: {ipv4: 10.0.0.11, ipv6: "fd00:1::11"}\n', "").replace(
        "      left3:", '      left: {ipv4: 10.0.0.11, ipv6: "fd00:1::11"}\n      left3:'
    )
    assert [each for each in routes("h", turned) if "." in each[0]] == [
        ("0.0.0.0/0", "10.0.0.2", "left2", 100),
        ("10.0.0.0/24", "-", "left2", 100),
        ("10.0.0.0/24", "-", "left", 200),
        ("10.0.0.0/24", "-", "left3", 300),
    ]


def test_properties_count_for_the_nic_that_has_them() -> None:
    routed = (
        "{network: left, ipv4: dhcp, nmcli: {ipv4.routes: '10.9.0.0/16 10.0.0.2, 10.8.0.0/16 10.0.0.2 7'}}"
    )
    text = TWINS.replace("{network: left, ipv4: dhcp}", routed)
    assert ("10.9.0.0/16", "10.0.0.2", "left3", 300) in routes("h", text)
    assert ("10.8.0.0/16", "10.0.0.2", "left3", 7) in routes("h", text)
    assert ("10.0.0.0/24", "-", "left2", 200) in routes("h", text)


def test_a_metric_of_the_file_decides_which_nic_sends() -> None:
    text = TWINS.replace(
        "left2: {network: left,",
        "left2: {network: left, nmcli: {ipv4.route-metric: 50, ipv6.route-metric: -1},",
    )
    assert routes("h", text) == [
        ("0.0.0.0/0", "10.0.0.2", "left", 100),
        ("10.0.0.0/24", "-", "left2", 50),
        ("10.0.0.0/24", "-", "left", 100),
        ("10.0.0.0/24", "-", "left3", 300),
        ("fd00:1::/64", "-", "left", 100),
        ("fd00:1::/64", "-", "left2", 200),
    ]
    back = paths(lab_of(text), 4)
    assert back.path("h", "w").fault is None
    # What leaves by it has its address.
    own = forwarding(lab_of(text), 4).sends_from("h", ip_address("10.0.0.13"))
    assert own is not None
    assert (own.name, str(own.address)) == ("left2", "10.0.0.12")


def test_addresses_and_paths() -> None:
    found = expectations(twins())
    assert {nic: [str(each) for each in given] for nic, given in found.addresses["h"].items()} == {
        "left": ["10.0.0.11/24", "fd00:1::11/64"],
        "left2": ["10.0.0.12/24", "fd00:1::12/64"],
        "left3": [str(twins().hosts["h"].interfaces[2].ipv4)],
    }
    assert [str(hop) for hop in found.path("x", "h").hops] == ["10.0.1.2", "10.0.0.11"]
    assert [str(hop) for hop in found.path("h", "x").hops] == ["10.0.0.2", "10.0.1.13"]


@pytest.mark.parametrize(
    ("source", "address", "passes"),
    [
        ("w", "10.0.0.11", True),
        ("w", "10.0.0.12", False),
        ("x", "10.0.0.12", False),
        ("h", "10.0.0.13", True),
    ],
)
def test_a_filter_is_at_its_nic_alone(source: str, address: str, passes: bool) -> None:
    verdict = reach(twins(), Connection(source, ip_address(address), 80))
    assert verdict is not None
    assert verdict.passes is passes
    assert passes or verdict.by == "hypervisor: the filter web drops tcp/80 at h's NIC on left2"


def test_answers_leave_by_the_first_nic_and_meet_its_filter() -> None:
    keeps = TWINS.replace("deny: in, proto: tcp, port: 80, log: true", "deny: out, proto: tcp")
    at_first = keeps.replace(", filter: web}", "}").replace('"fd00:1::11"}', '"fd00:1::11", filter: web}')
    for text, passes in ((keeps, True), (at_first, False)):
        verdict = reach(lab_of(text), Connection("w", ip_address("10.0.0.12"), 80))
        assert verdict is not None
        assert verdict.passes is passes


def test_a_filter_is_tried_at_the_address_of_its_nic() -> None:
    tried = [(each.source, str(each.address), each.check.expect) for each in derived_trials(twins())]
    assert tried == [("r", "10.0.0.12", "filtered")]


def test_no_echo_gets_through_a_filter_at_the_second_nic_but_at_the_first() -> None:
    text = TWINS.replace("deny: in, proto: tcp, port: 80, log: true", "deny: in, proto: icmp")
    assert paths(lab_of(text), 4).path("w", "h").fault is None
    first = text.replace(", filter: web}", "}").replace('"fd00:1::11"}', '"fd00:1::11", filter: web}')
    assert str(paths(lab_of(first), 4).path("w", "h").fault) == (
        "hypervisor: the filter web drops it at h's NIC on left"
    )


def test_a_router_sends_no_redirect_where_it_turns_a_packet_to_its_other_nic() -> None:
    text = """\
name: turned
networks: {n: {cidr: 10.0.0.0/24}, m: {cidr: 10.0.1.0/24}}
hosts:
  r: {role: router, networks: {n: 10.0.0.2, n2: {network: n, ipv4: 10.0.0.3}}}
  s: {role: router, networks: {n: 10.0.0.4, m: 10.0.1.4}}
  a: {networks: {n: 10.0.0.11}, gateway: GATE}
  b: {networks: {m: 10.0.1.11}}
"""
    by_first, by_second = (
        paths(lab_of(text.replace("GATE", gate)), 4).path("a", "b") for gate in ("10.0.0.2", "10.0.0.3")
    )
    assert by_first.way.through == by_second.way.through == ("r", "s")
    assert by_first.way.redirected == (0,)
    assert by_second.way.redirected == ()


def test_each_answers_arp_for_its_own_address_and_loose_filtering_lets_the_second_receive() -> None:
    ours = {
        "net.ipv4.conf.all.arp_announce": "2",
        "net.ipv4.conf.all.arp_ignore": "1",
        "net.ipv4.conf.all.rp_filter": "2",
    }
    lab = twins()
    assert role_values(lab.hosts["h"]) == ours
    assert role_values(lab.hosts["w"]) == {}
    router = lab_of(
        TWINS.replace("right: 10.0.1.2}", "right: 10.0.1.2, r2: {network: right, ipv4: 10.0.1.3}}")
    )
    assert role_values(router.hosts["r"]).items() >= {**ours, "net.ipv4.ip_forward": "1"}.items()


def test_a_value_of_the_file_goes_before_these() -> None:
    mine = TWINS.replace("  h:\n", "  h:\n    sysctl: {net.ipv4.conf.all.arp_ignore: 0}\n")
    values = Sysctl().desired(lab_of(mine), lab_of(mine).hosts["h"])
    assert values is not None
    assert values["values"]["net.ipv4.conf.all.arp_ignore"] == "0"
    with pytest.raises(LabFileError) as caught:
        lab_of(TWINS.replace("  h:\n", "  h:\n    sysctl: {net/ipv4/conf/all/arp_ignore: 0}\n"))
    assert str(caught.value) == (
        "<stdin>:11: hosts.h.sysctl.net/ipv4/conf/all/arp_ignore: this is the same kernel value as"
        " net.ipv4.conf.all.arp_ignore, which labrun sets to 1"
        " (net.ipv4.conf.all.arp_ignore: 0 replaces labrun's value)"
    )


def test_leases_are_found_by_the_nic_s_mac() -> None:
    lab = twins()
    *_, third = lab.hosts["h"].interfaces
    now = locate(lab, Leases(Lease(third.mac, ip_address("10.0.0.77"), "lease")))["h"]
    assert {nic: str(address) for nic, address in now.addresses.items()} == {
        "left": "10.0.0.11",
        "left2": "10.0.0.12",
        "left3": "10.0.0.77",
    }
    assert (now.address, now.network, now.nic) == ("10.0.0.11", "left", "left")
    gone = locate(lab, Leases())["h"]
    assert dict(gone.missing) == {"left3": "no lease on left3"}


def test_the_way_in_is_a_nic() -> None:
    first = lab_of(TWINS.replace('left: {ipv4: 10.0.0.11, ipv6: "fd00:1::11"}', "left: none"))
    assert way_in(first, first.hosts["h"]).nic == "left2"
    assert locate(first, None)["h"].nic == "left2"
    walled = lab_of(
        TWINS.replace("left: {cidr", "left: {mode: very-isolated, cidr")
        .replace("left3: {network: left, ipv4: dhcp}", "left3: {network: left}")
        .replace("right: {cidr", "right: {mode: isolated, cidr")
        .replace('left: {ipv4: 10.0.0.11, ipv6: "fd00:1::11"}', "left: none")
    )
    jump = jumps(walled)["h"]
    assert (jump.via, jump.network, jump.nic, str(jump.client)) == ("r", "left", "left2", "10.0.0.2")


def test_a_group_has_the_host_once() -> None:
    assert group_members(twins())["left"] == ("r", "h", "w")


def test_exports_name_each_nic() -> None:
    lab = twins()
    hosts = FORMATS["hosts"](lab, locate(lab, None), None)
    assert "10.0.0.11\th h.left\n" in hosts
    assert "10.0.0.12\th.left2\n" in hosts
    assert f"{lab.hosts['h'].interfaces[2].mac}" in FORMATS["json"](lab, locate(lab, None), None)


def test_a_nic_without_an_address_has_no_connected_route() -> None:
    declared = TWINS.replace(
        "x: {networks: {right: 10.0.1.13}}", "x: {networks: {right: 10.0.1.13, r2: {network: right}}}"
    )
    table = route_table(lab_of(declared), "x")
    assert [each.nic for each in table if each.prefix == ip_network("10.0.1.0/24")] == ["right"]
