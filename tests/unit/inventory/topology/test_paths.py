"""Paths: hand-made labs, and hundreds of generated ones against a packet-by-packet simulator."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.inventory.model import Host, Lab, Role
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.routing import route_table
from tests.fuzz import examples
from tests.unit.small_labs import host, lab, network, two_networks


def trace(of: Lab, source: str, target: str) -> str:
    path = paths(of, 4).path(source, target)
    return f"unreachable: {path.fault}" if path.fault else " ".join(str(hop or "*") for hop in path.hops)


def test_neighbours_are_one_hop_apart() -> None:
    assert trace(two_networks(), "host01", "host02") == "172.16.0.12"


def test_the_router_between_answers_first() -> None:
    assert trace(two_networks(), "host01", "host03") == "172.16.0.254 172.17.0.11"
    assert trace(two_networks(), "host04", "host01") == "172.17.0.254 172.16.0.11"


def test_a_router_is_traced_at_its_address_on_the_shared_network() -> None:
    assert trace(two_networks(), "host03", "host00") == "172.17.0.254"


def test_a_host_without_shared_network_is_traced_at_its_first_address() -> None:
    of = lab(
        [network(f"n{i}", f"10.0.{i}.0/24") for i in (1, 2, 3)],
        [
            host("a", {"n1": "10.0.1.9/24"}),
            host("r1", {"n1": "10.0.1.1/24", "n2": "10.0.2.1/24"}, "router"),
            host("r2", {"n3": "10.0.3.2/24", "n2": "10.0.2.2/24"}, "router"),
        ],
    )
    assert trace(of, "a", "r2") == "10.0.1.1 10.0.3.2"


def test_a_hop_answers_with_the_address_that_its_own_way_back_selects() -> None:
    # out reaches b by r1, b's network sends back by r2: r2's answer would come from there.
    of = lab(
        [network(f"n{i}", f"10.0.{i}.0/24") for i in (1, 2, 3)],
        [
            host("a", {"n1": "10.0.1.9/24"}, gateway="r1"),
            host("r1", {"n1": "10.0.1.1/24", "n2": "10.0.2.1/24"}, "router"),
            host(
                "r2",
                {"n2": "10.0.2.2/24", "n3": "10.0.3.2/24"},
                "router",
                routes={"10.0.1.0/24": "10.0.3.3"},
            ),
            host("r3", {"n3": "10.0.3.3/24", "n2": "10.0.2.3/24"}, "router"),
            host("b", {"n3": "10.0.3.9/24"}, gateway="r3"),
        ],
    )
    # r2 stands between, but its route back to n1 leaves by n3.
    path = paths(of, 4).path("a", "b")
    assert path.way.through == ("r1", "r2")
    assert path.way.back == ("r3", "r1")
    assert trace(of, "a", "b") == "10.0.1.1 10.0.3.2 10.0.3.9"


def test_over_ipv6_a_hop_answers_with_the_address_of_the_nic_that_the_probe_came_in() -> None:
    of = lab(
        [network(f"n{i}", None, cidr6=f"fd00:{i}::/64") for i in (1, 2, 3)],
        [
            host("a", {"n1": "fd00:1::9/64"}, gateway="r1"),
            host("r1", {"n1": "fd00:1::1/64", "n2": "fd00:2::1/64"}, "router"),
            host(
                "r2",
                {"n2": "fd00:2::2/64", "n3": "fd00:3::2/64"},
                "router",
                routes={"fd00:1::/64": "fd00:3::3"},
            ),
            host("r3", {"n3": "fd00:3::3/64", "n2": "fd00:2::3/64"}, "router"),
            host("b", {"n3": "fd00:3::9/64"}, gateway="r3"),
        ],
    )
    path = paths(of, 6).path("a", "b")
    # As above r2's route back leaves by n3; it answers from n2 all the same.
    assert path.way.through == ("r1", "r2")
    assert [str(hop) for hop in path.hops] == ["fd00:1::1", "fd00:2::2", "fd00:3::9"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("no-gateway-here", "unreachable: host01: no route to 172.17.0.0/24"),
        ("no-gateway-there", "unreachable: host03: no route to 172.16.0.0/24"),
        ("no-router", "unreachable: host00: does not forward"),
        ("nobody", "unreachable: host01: no host has 172.16.0.99 on network1"),
    ],
)
def test_an_unreachable_target_has_its_reason(change: str, expected: str) -> None:
    nets = [network("network1", "172.16.0.0/24"), network("network2", "172.17.0.0/24")]
    here = {"no-gateway-here": "none", "no-router": "host00", "nobody": "172.16.0.99"}.get(change, "auto")
    there = {"no-gateway-there": "none", "no-router": "host00"}.get(change, "auto")
    role = "host" if change == "no-router" else "router"
    of = lab(
        nets,
        [
            host("host00", {"network1": "172.16.0.254/24", "network2": "172.17.0.254/24"}, role),
            host("host01", {"network1": "172.16.0.11/24"}, gateway=here),
            host("host03", {"network2": "172.17.0.11/24"}, gateway=there),
        ],
    )
    assert trace(of, "host01", "host03") == expected


def test_a_loop_is_named() -> None:
    of = lab(
        [network(f"n{i}", f"10.0.{i}.0/24") for i in (1, 2, 3)],
        [
            host("a", {"n1": "10.0.1.9/24"}),
            host(
                "r1",
                {"n1": "10.0.1.1/24", "n2": "10.0.2.1/24"},
                "router",
                routes={"10.0.3.0/24": "10.0.2.2"},
            ),
            host("r2", {"n2": "10.0.2.2/24"}, "router", routes={"10.0.3.0/24": "10.0.2.1"}),
            host("b", {"n3": "10.0.3.9/24"}),
        ],
    )
    assert trace(of, "a", "b") == "unreachable: r1: packets to 10.0.3.0/24 go round in a loop"


def test_a_router_that_sends_back_into_the_same_network_may_be_left_out() -> None:
    of = lab(
        [network("n1", "10.0.1.0/24"), network("n2", "10.0.2.0/24")],
        [
            host("a", {"n1": "10.0.1.9/24"}),
            host("r1", {"n1": "10.0.1.1/24"}, "router"),
            host("r2", {"n1": "10.0.1.2/24", "n2": "10.0.2.2/24"}, "router"),
            host("b", {"n2": "10.0.2.9/24"}),
        ],
    )
    assert trace(of, "a", "b") == "10.0.1.1 10.0.1.2 10.0.2.9"
    assert paths(of, 4).path("a", "b").way.redirected == (0,)
    assert paths(two_networks(), 4).path("host01", "host03").way.redirected == ()


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ("route", "route", "10.0.1.1 10.0.2.9"),
        ("nat", "open", "10.0.1.1 10.0.2.9"),
        ("route", "nat", "unreachable: hypervisor: libvirt lets nothing from n1 into n2"),
        ("nat", "nat", "unreachable: hypervisor: libvirt lets nothing from n1 into n2"),
        ("nat", "isolated", "unreachable: hypervisor: libvirt lets nothing from n1 into n2"),
        ("isolated", "open", "unreachable: a: no route to 10.0.2.0/24"),
    ],
)
def test_the_hypervisor_forwards_where_libvirt_lets_it(here: str, there: str, expected: str) -> None:
    of = lab(
        [network("n1", "10.0.1.0/24", here), network("n2", "10.0.2.0/24", there)],
        [host("a", {"n1": "10.0.1.9/24"}), host("b", {"n2": "10.0.2.9/24"})],
    )
    assert trace(of, "a", "b") == expected


def test_the_hypervisor_lets_only_a_network_s_own_addresses_out() -> None:
    of = lab(
        [
            network("inside", "10.0.1.0/24"),
            network("up", "10.0.2.0/24", "nat"),
            network("far", "10.0.3.0/24", "route"),
        ],
        [
            host("a", {"inside": "10.0.1.9/24"}),
            host("r", {"inside": "10.0.1.2/24", "up": "10.0.2.2/24"}, "router"),
            host("b", {"far": "10.0.3.9/24"}),
        ],
    )
    assert trace(of, "r", "b") == "10.0.2.1 10.0.3.9"
    assert trace(of, "a", "b") == "unreachable: hypervisor: libvirt lets only up's own addresses out of it"


def test_a_host_whose_address_another_dhcp_server_gives_cannot_be_traced() -> None:
    of = lab(
        [network("n1", "10.0.1.0/24", "bridge")],
        [host("a", {"n1": "10.0.1.9/24"}), host("b", {"n1": "dhcp"})],
    )
    path = paths(of, 4).path("a", "b")
    assert path.address is None
    assert str(path.fault) == "b: its address is not in the lab file"


def test_hosts_without_a_common_ip_version_are_told_apart_from_unknown_addresses() -> None:
    of = lab(
        [network("n1", "10.0.1.0/24", cidr6="fd00:1::/64"), network("n2", "10.0.2.0/24", "bridge")],
        [
            host("four", {"n1": "10.0.1.4/24"}),
            host("six", {"n1": "fd00:1::6/64"}),
            host("both", {"n1": "10.0.1.9/24 fd00:1::9/64"}),
            host("unknown", {"n2": "dhcp"}),
        ],
    )

    def fault(source: str, target: str) -> str:
        (found,) = (
            each for each in expectations(of).paths() if (each.source, each.target) == (source, target)
        )
        return str(found.fault)

    assert fault("four", "six") == "six: it has only IPv6 in the lab file, and four only IPv4"
    assert fault("six", "four") == "four: it has only IPv4 in the lab file, and six only IPv6"
    assert fault("four", "unknown") == "unknown: its address is not in the lab file"
    assert fault("six", "unknown") == "unknown: its address is not in the lab file"
    assert fault("both", "six") == "None"


def test_strict_reverse_path_filtering_drops_what_would_return_another_way() -> None:
    def asymmetric(strict: bool) -> Lab:
        keys = ("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter")
        return lab(
            [network(f"n{i}", f"10.0.{i}.0/24") for i in (1, 2, 3)],
            [
                host("a", {"n1": "10.0.1.9/24"}, gateway="r1"),
                host("r1", {"n1": "10.0.1.1/24", "n2": "10.0.2.1/24"}, "router"),
                host(
                    "r2",
                    {"n2": "10.0.2.2/24", "n3": "10.0.3.2/24"},
                    "router",
                    routes={"10.0.1.0/24": "10.0.3.3"},
                    sysctl=dict.fromkeys(keys, "1") if strict else None,
                ),
                host("r3", {"n3": "10.0.3.3/24", "n2": "10.0.2.3/24"}, "router"),
                host("b", {"n3": "10.0.3.9/24"}, gateway="r3"),
            ],
        )

    assert trace(asymmetric(False), "a", "b") == "10.0.1.1 10.0.3.2 10.0.3.9"
    assert trace(asymmetric(True), "a", "b") == "unreachable: r2: no route back to 10.0.1.0/24"


# --- against a simulator that sends one packet at a time -----------------------------------------


@dataclass(frozen=True)
class Packet:
    sender: IPv4Address
    to: IPv4Address
    answer: bool
    life: int


class Wire:
    """Moves packets by scanning whole route tables; shares nothing with the code under test."""

    def __init__(self, of: Lab) -> None:
        self.lab = of
        self.at = {
            (nic.network, nic.ipv4.ip): each
            for each in of.hosts.values()
            for nic in each.interfaces
            if nic.ipv4 is not None
        }

    def holds(self, who: Host, address: IPv4Address) -> bool:
        return any(nic.ipv4 is not None and nic.ipv4.ip == address for nic in who.interfaces)

    def best(self, who: Host, address: IPv4Address) -> tuple[str, IPv4Address, IPv4Address] | None:
        """Return network, next hop and source address."""
        fitting = [
            r
            for r in route_table(self.lab, who.name)
            if isinstance(r.prefix, IPv4Network) and address in r.prefix
        ]
        if not fitting:
            return None
        route = sorted(fitting, key=lambda r: -r.prefix.prefixlen)[0]
        nic = who.nic(route.nic)
        assert nic is not None
        assert nic.ipv4 is not None
        following = address if route.via is None else route.via
        assert isinstance(following, IPv4Address)
        return route.network, following, nic.ipv4.ip

    def send(self, who: Host, packet: Packet) -> tuple[str, Host | None]:
        """Carry one packet; return what became of it and where."""
        came: str | None = None
        here = who
        for _ in range(40):
            if came is not None and here.role is Role.ROUTER and self.best(here, packet.sender) is None:
                return "lost", None
            if self.holds(here, packet.to):
                return "arrived", here
            if came is not None:
                if here.role is not Role.ROUTER:
                    return "lost", None
                packet = Packet(packet.sender, packet.to, packet.answer, packet.life - 1)
                if packet.life == 0:
                    return "expired", here
            way = self.best(here, packet.to)
            if way is None:
                return "lost", None
            came = way[0]
            neighbour = self.at.get((came, way[1]))
            if neighbour is None:
                return "lost", None  # the hypervisor is left out of the generated labs' transit
            here = neighbour
        return "lost", None

    def traceroute(self, source: Host, to: IPv4Address) -> list[str] | None:
        way = self.best(source, to)
        if way is None:
            return None
        hops: list[str] = []
        for life in range(1, 30):
            fate, where = self.send(source, Packet(way[2], to, False, life))
            if fate == "lost":
                return None
            assert where is not None
            if fate == "arrived":
                back, _ = self.send(where, Packet(to, way[2], True, 64))
                return [*hops, str(to)] if back == "arrived" else None
            home = self.best(where, way[2])
            back = self.send(where, Packet(home[2], way[2], True, 64))[0] if home else "lost"
            hops.append(str(home[2]) if home and back == "arrived" else "*")
        return None


@st.composite
def labs(draw: st.DrawFn) -> Lab:
    count = draw(st.integers(2, 6))
    modes = ["isolated", "isolated", "very-isolated", "nat"]
    nets = [network(f"n{i}", f"10.0.{i}.0/24", draw(st.sampled_from(modes))) for i in range(count)]
    hosts: list[Host] = []
    total = draw(st.integers(2, 9))
    names = [f"h{i}" for i in range(total)]
    placed = [draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=3, unique=True)) for _ in names]
    for number, name in enumerate(names):
        nics = {f"n{i}": f"10.0.{i}.{10 + number}/24" for i in placed[number]}
        near = [
            f"10.0.{i}.{10 + other}"
            for other in range(total)
            for i in placed[other]
            if other != number and i in placed[number]
        ]
        gateway = draw(st.sampled_from(["auto", "auto", "auto", "none", *near]))
        ways: list[str] = []
        if draw(st.booleans()) and near:
            prefixes = [f"10.0.{i}.0/24" for i in range(count) if i not in placed[number]]
            narrow = [f"10.0.{i}.{10 + o}/32" for o in range(total) if o != number for i in placed[o]]
            candidates = [*prefixes, *narrow, "10.0.0.0/16"]
            ways = draw(st.lists(st.sampled_from(candidates), max_size=2, unique=True))
        routes = {prefix: draw(st.sampled_from(near)) for prefix in ways}
        role = draw(st.sampled_from(["host", "router", "router"]))
        hosts.append(host(name, nics, role, gateway, routes))
    return lab(nets, hosts, draw(st.sampled_from(["auto", "auto", "manual"])))


@given(labs())
@settings(max_examples=examples(400))
def test_every_path_is_what_packets_do(of: Lab) -> None:
    wire = Wire(of)
    found = paths(of, 4)
    for source in of.hosts.values():
        for target in of.hosts.values():
            if source is target:
                continue
            path = found.path(source.name, target.name)
            assert path.address is not None
            assert (path.source, path.target) == (source.name, target.name)
            assert path.address == aimed_at(source, target)
            assert shown(path) == wire.traceroute(source, IPv4Address(str(path.address))), path


def shown(path: Path) -> list[str] | None:
    return None if path.fault else [str(hop or "*") for hop in path.hops]


def aimed_at(source: Host, target: Host) -> IPv4Address:
    for nic in (*source.interfaces, *target.interfaces):
        there = target.nic(nic.network)
        if there is not None and there.ipv4 is not None:
            return there.ipv4.ip
    raise AssertionError(target)


# --- the derived routes of routers against distances worked out another way -----------------------


@given(labs())
@settings(max_examples=examples(200))
def test_topology_routes_get_one_network_nearer(of: Lab) -> None:
    if of.routing == "manual":
        return
    routers = [each for each in of.hosts.values() if each.role is Role.ROUTER]
    for goal in of.networks.values():
        if goal.cidr is None:
            continue
        for router in routers:
            declared = {route.to for route in router.routes}
            if router.nics_on(goal.name) or goal.cidr in declared:
                continue
            found = [r for r in route_table(of, router.name) if r.prefix == goal.cidr]
            length = distance(of, router, goal.name)
            assert bool(found) == (length is not None)
            if length is not None:
                via = found[0].via
                following = next(
                    (r for r in routers for nic in r.interfaces if nic.ipv4 and nic.ipv4.ip == via), None
                )
                assert following is not None
                assert distance(of, following, goal.name) == length - 1


def distance(of: Lab, start: Host, goal: str) -> int | None:
    """Count router steps to a network, breadth first over routers."""
    queue = deque([(start, 0)])
    seen = {start.name}
    while queue:
        here, steps = queue.popleft()
        if here.nics_on(goal):
            return steps
        for other in of.hosts.values():
            meets = any(here.nics_on(nic.network) for nic in other.interfaces)
            if other.role is Role.ROUTER and other.name not in seen and meets:
                seen.add(other.name)
                queue.append((other, steps + 1))
    return None
