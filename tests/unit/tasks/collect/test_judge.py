"""Judging: what five real containers showed, healthy and broken, as verify's rows.

``cases/collect/NAME.json`` is what the hosts printed (a string = why one could not be asked);
``NAME.txt`` is every row of it that is not plainly ok.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from labrun.errors import UnreachableError
from labrun.inventory.check_model import Check
from labrun.inventory.model import Host, Lab, Machine
from labrun.inventory.route_patterns import route_pattern
from labrun.inventory.topology.routing import route_table
from labrun.outcome import Outcome, Status, exit_code
from labrun.tasks.collect.capture import Capture, Trace, Unreachable
from labrun.tasks.collect.checks import CheckResult
from labrun.tasks.collect.evidence import Evidence
from labrun.tasks.collect.judge import judge
from labrun.tasks.collect.task import captures_of
from labrun.tasks.configure.sshd_profiles import desired_sshd
from labrun.tasks.guest.facts.links import Link, LinkAddress
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.guest.shell import Captured, Facts
from tests import places
from tests.unit.recorded_specs import with_spec
from tests.unit.small_labs import host, lab, network

CASES = places.RECORDED / "collect"
NUMBERS = {"r": 0, "a": 1, "b": 2, "c": 3, "d": 4}


def recorded_lab() -> Lab:
    """Make the lab that the cases were recorded on; sshd is left alone to keep them short."""

    def one(name: str, nics: Mapping[str, str], role: str = "host") -> Host:
        made = host(name, nics, role)
        named = (replace(n, mac=f"02:c0:00:00:0{NUMBERS[name]}:0{n.network[1]}") for n in made.interfaces)
        return replace(made, sshd=None, interfaces=tuple(named))

    return lab(
        [network("n1", "10.3.1.0/24"), network("n2", "10.3.2.0/24")],
        [
            one("r", {"n1": "10.3.1.254/24", "n2": "10.3.2.254/24"}, "router"),
            one("a", {"n1": "10.3.1.11/24"}),
            one("b", {"n1": "10.3.1.12/24"}),
            one("c", {"n2": "10.3.2.11/24"}),
            one("d", {"n2": "10.3.2.12/24"}),
        ],
    )


def raw(case: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((CASES / f"{case}.json").read_text())
    return {k: UnreachableError(v) if isinstance(v, str) else with_spec(v) for k, v in results.items()}


def captures(case: str) -> dict[str, Capture | Unreachable]:
    return captures_of(raw(case))


def line(row: Outcome) -> str:
    parts = (row.host, row.section, row.name, row.status.value, row.expected, row.actual, row.why)
    return " | ".join(part or "-" for part in parts)


@pytest.mark.parametrize("case", sorted(path.stem for path in CASES.glob("*.json")))
def test_a_recorded_lab_has_these_rows(case: str) -> None:
    rows = judge(recorded_lab(), captures(case))
    remarkable = [line(row) for row in rows if row.status is not Status.OK or row.why]
    assert remarkable == (CASES / f"{case}.txt").read_text().splitlines()


@pytest.mark.parametrize("case", ["healthy", "forwarding-off", "host-stopped", "router-stopped"])
def test_every_expected_thing_has_one_row_whatever_happened(case: str) -> None:
    rows = judge(recorded_lab(), captures(case))
    names = [(row.host, row.section, row.name) for row in rows]
    assert len(names) == len(set(names)) == 6 + 10 + 20 + 3
    assert {row.host for row in rows} == {"r", "a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("healthy", 0),
        ("pinged", 0),
        ("asked-again", 0),
        ("forwarding-off", 1),
        ("default-deleted", 1),
        ("host-stopped", 4),
        ("router-stopped", 1),
        ("hop-silent", 4),
    ],
)
def test_the_exit_code_follows_the_worst_row(case: str, code: int) -> None:
    assert exit_code(judge(recorded_lab(), captures(case))) == code


def test_only_the_named_hosts_have_rows_while_all_are_asked_for_causes() -> None:
    rows = judge(recorded_lab(), captures("forwarding-off"), ["a"])
    assert {row.host for row in rows} == {"a"}
    assert [row.why for row in rows if row.name == "a -> c"] == ["r: net.ipv4.ip_forward is 0"]


def test_a_host_that_nobody_asked_is_unknown_and_no_cause() -> None:
    found = captures("forwarding-off")
    del found["r"]
    rows = {(row.host, row.name): row for row in judge(recorded_lab(), found)}
    assert rows["r", "n1"].status is Status.UNKNOWN
    assert rows["r", "n1"].why == "r was not asked"
    assert rows["a", "a -> c"].status is Status.FAILED
    assert rows["a", "a -> c"].why == "no answer"


def test_output_that_breaks_off_is_unknown_and_says_so() -> None:
    results = raw("healthy")
    results["a"] = {
        **results["a"],
        "stdout": results["a"]["stdout"][:400],
        "stderr": "sh: 1: ip: not found\n",
    }
    rows = [row for row in judge(recorded_lab(), captures_of(results)) if row.host == "a"]
    assert {row.status for row in rows} == {Status.UNKNOWN}
    assert {row.why for row in rows} == {"what a showed cannot be read: sh: 1: ip: not found"}


@pytest.mark.parametrize(
    ("case", "status", "why"),
    [
        ("healthy", "ok", "-"),
        ("forwarding-off", "unknown", "inconclusive: a -> c: r: net.ipv4.ip_forward is 0"),
        ("router-stopped", "unknown", "inconclusive: a -> c: r does not answer"),
        ("host-stopped", "unreachable", "inconclusive: a -> c: c does not answer"),
    ],
)
def test_what_is_blocked_counts_only_where_the_pair_can_meet(case: str, status: str, why: str) -> None:
    of = replace(recorded_lab(), checks=(Check("no-telnet", "a", "c", "tcp", "23", expect="blocked"),))
    found = captures(case)
    assert isinstance(found["a"], Capture)
    found["a"] = replace(found["a"], checks={"no-telnet": CheckResult("refused", "refused")})
    rows = [line(row) for row in judge(of, found) if row.section == "check"]
    assert rows == [f"a | check | no-telnet | {status} | blocked | refused | {why}"]


def test_pairs_that_the_lab_file_does_not_connect_must_not_reach_each_other() -> None:
    of = recorded_lab()
    apart = replace(
        of,
        hosts={**of.hosts, "a": replace(of.hosts["a"], gateway=replace(of.hosts["a"].gateway, kind="none"))},
    )
    found = captures("pinged")
    capture = found["a"]
    assert isinstance(capture, Capture)
    pings = {key: replace(ping, like=None) for key, ping in capture.pings.items()}
    assert pings["d", 4].reached
    found["a"] = replace(capture, pings=pings)
    rows = {row.name: row for row in judge(apart, found, ["a"])}
    assert line(rows["a -> d"]) == (
        "a | path | a -> d | failed | unreachable | reached | by the lab file it cannot be: "
        "a: no route to 10.3.2.0/24"
    )
    pings["d", 4] = replace(pings["d", 4], reached=False)
    found["a"] = replace(capture, pings=pings)
    rows = {row.name: row for row in judge(apart, found, ["a"])}
    assert rows["a -> d"].status is Status.OK
    assert rows["a -> d"].actual == "unreachable"


def test_verify_takes_sshd_at_its_word_where_labrun_could_not_write_its_file() -> None:
    of = recorded_lab()
    held = {"MaxAuthTries": ("3",), "X11Forwarding": ("no",)}
    of = replace(of, hosts={**of.hosts, "a": replace(of.hosts["a"], sshd=held)})
    values = {setting.key: setting.values for setting in desired_sshd(of, of.hosts["a"]) or ()}
    said = "".join(f"{key} {value}\n" for key, given in values.items() for value in given)
    found = one_nic(of, "a")
    for text, status in ((said, "ok"), (said.replace("maxauthtries 3", "maxauthtries 6"), "failed")):
        facts = Facts({"/etc/ssh/sshd_config": "# monolithic\n"}, {"sshd": Captured(text, 0)})
        rows = judge(of, {"a": replace(found, facts=facts)}, ["a"])
        by_name = {row.name: row for row in rows if row.section == "sshd"}
        assert by_name["maxauthtries"].status.value == status
        assert {row.status.value for name, row in by_name.items() if name != "maxauthtries"} == {"ok"}
    assert by_name["maxauthtries"].actual == "6"


# --- situations made by hand ----------------------------------------------------------------------


def one_nic(of: Lab, name: str, **changes: Any) -> Capture:
    """Make the capture of a healthy host, with changes to its first NIC."""
    links = {}
    routes = []
    for number, nic in enumerate(of.hosts[name].interfaces):
        held = tuple(LinkAddress(each) for each in (nic.ipv4, nic.ipv6) if each is not None)
        link = Link(f"eth{number}", nic.mac, held=held)
        links[nic.mac] = replace(link, **changes) if number == 0 else link
    devices = {nic.network: f"eth{number}" for number, nic in enumerate(of.hosts[name].interfaces)}
    for route in route_table(of, name):
        routes.append(ObservedRoute(route.prefix, route.via, devices[route.network]))
    return Capture(links=links, routes=tuple(routes), facts=Facts())


def rows_of(of: Lab, found: dict[str, Capture | Unreachable], name: str, *sections: str) -> list[str]:
    return [line(row) for row in judge(of, found, [name]) if row.section in sections]


def test_a_nic_that_is_down_is_why() -> None:
    of = recorded_lab()
    found: dict[str, Capture | Unreachable] = {"a": one_nic(of, "a", is_up=False)}
    assert rows_of(of, found, "a", "address") == [
        "a | address | n1 | failed | 10.3.1.11/24 | 10.3.1.11/24 | eth0 is down"
    ]
    assert "a | path | a -> b | failed | 10.3.1.12 | * | a: eth0 (n1) is down" in rows_of(
        of, found, "a", "path"
    )


def test_a_missing_address_is_why() -> None:
    of = recorded_lab()
    found: dict[str, Capture | Unreachable] = {"a": one_nic(of, "a", held=())}
    assert rows_of(of, found, "a", "address") == [
        "a | address | n1 | failed | 10.3.1.11/24 | none | eth0 does not have it"
    ]
    assert rows_of(of, found, "a", "path")[1] == (
        "a | path | a -> b | failed | 10.3.1.12 | * | a: 10.3.1.11 is missing on n1"
    )


def test_a_nic_is_found_by_its_mac_whatever_its_name() -> None:
    of = recorded_lab()
    healthy = one_nic(of, "a")
    link = replace(healthy.links["02:c0:00:00:01:01"], name="enp1s0")
    routes = tuple(replace(route, device="enp1s0") for route in healthy.routes)
    renamed = replace(healthy, links={link.mac: link}, routes=routes)
    assert rows_of(of, {"a": renamed}, "a", "address", "route") == [
        "a | address | n1 | ok | 10.3.1.11/24 | 10.3.1.11/24 | -",
        "a | route | default | ok | via 10.3.1.254 | via 10.3.1.254 | -",
        "a | route | 10.3.1.0/24 | ok | connected | connected | -",
    ]


def test_a_nic_with_another_mac_is_not_the_lab_s() -> None:
    of = recorded_lab()
    healthy = one_nic(of, "a")
    link = replace(healthy.links["02:c0:00:00:01:01"], mac="02:ff:ff:ff:ff:ff")
    why = "no NIC of a has the MAC 02:c0:00:00:01:01"
    # Its routes are as they were, and nobody is told to remove them.
    assert rows_of(of, {"a": replace(healthy, links={link.mac: link})}, "a", "address", "route") == [
        f"a | address | n1 | failed | 10.3.1.11/24 | absent | {why}",
        f"a | route | default | failed | via 10.3.1.254 | via 10.3.1.254 on eth0 | {why}",
        f"a | route | 10.3.1.0/24 | failed | connected | connected on eth0 | {why}",
    ]


@pytest.mark.parametrize(
    ("prefix", "via", "protocol", "counts"),
    [
        ("fe80::/64", None, "kernel", False),
        ("169.254.0.0/16", None, "kernel", False),
        ("fd00:9::/64", None, "ra", False),
        ("::/0", "fe80::1", "ra", False),
        ("10.9.0.0/16", "10.3.1.12", "static", True),
        ("10.3.2.0/24", "10.3.1.12", "static", True),
    ],
)
def test_what_comes_and_goes_by_itself_is_not_one_too_many(
    prefix: str, via: str | None, protocol: str, counts: bool
) -> None:
    of = recorded_lab()
    healthy = one_nic(of, "a")
    extra = ObservedRoute(ip_network(prefix), ip_address(via) if via else None, "eth0", protocol=protocol)
    rows = rows_of(of, {"a": replace(healthy, routes=(*healthy.routes, extra))}, "a", "route")
    assert len(rows) == 2 + counts
    if counts:
        assert rows[2] == (
            f"a | route | {prefix} | failed | absent | via {via} on n1 | the lab file has no such route"
        )


def test_the_guest_s_own_bridges_are_its_own_unless_they_take_the_lab_s_addresses() -> None:
    of = recorded_lab()
    healthy = one_nic(of, "a")
    docker = ObservedRoute(ip_network("172.30.0.0/16"), None, "docker0", protocol="kernel")
    clash = ObservedRoute(ip_network("10.3.0.0/16"), None, "docker0", protocol="kernel")
    assert len(rows_of(of, {"a": replace(healthy, routes=(*healthy.routes, docker))}, "a", "route")) == 2
    assert rows_of(of, {"a": replace(healthy, routes=(*healthy.routes, clash))}, "a", "route")[2] == (
        "a | route | 10.3.0.0/16 | failed | absent | connected on docker0 | the lab file has no such route"
    )


@pytest.mark.parametrize(
    ("protocol", "metric", "status"),
    [("kernel", 256, "ok"), ("ra", 1024, "ok"), ("kernel", 0, "failed"), ("static", 256, "failed")],
)
def test_a_device_beside_a_nic_may_have_a_way_into_its_network_that_is_never_taken(
    protocol: str, metric: int, status: str
) -> None:
    """A macvlan takes an address from a router's advertisements, and a route with it."""
    of = recorded_lab()
    healthy = one_nic(of, "a")
    own = next(each for each in healthy.routes if each.via is None)
    beside = replace(own, device="over", protocol=protocol, metric=metric)
    routes = (*(replace(each, metric=100) for each in healthy.routes), beside)
    rows = rows_of(of, {"a": replace(healthy, routes=routes)}, "a", "route")
    assert [row.split(" | ")[3] for row in rows if f" {own.prefix} " in row] == [status]


def test_a_second_default_is_one_too_many() -> None:
    of = recorded_lab()
    healthy = one_nic(of, "a")
    second = ObservedRoute(ip_network("0.0.0.0/0"), ip_address("10.3.1.1"), "eth0", metric=200)
    assert rows_of(of, {"a": replace(healthy, routes=(*healthy.routes, second))}, "a", "route")[0] == (
        "a | route | default | failed | via 10.3.1.254 | via 10.3.1.254, via 10.3.1.1 on n1 | "
        "one too many: via 10.3.1.1 on n1"
    )


def two_routers() -> Lab:
    return lab(
        [network("n1", "10.0.1.0/24"), network("n2", "10.0.2.0/24")],
        [
            host("a", {"n1": "10.0.1.9/24"}),
            host("r1", {"n1": "10.0.1.1/24"}, "router"),
            host("r2", {"n1": "10.0.1.2/24", "n2": "10.0.2.2/24"}, "router"),
            host("b", {"n2": "10.0.2.9/24"}),
        ],
    )


@pytest.mark.parametrize(
    ("hops", "expected"),
    [
        (["10.0.1.1", "10.0.1.2", "10.0.2.9"], "ok | {want} | 10.0.1.1 10.0.1.2 10.0.2.9 | -"),
        (["10.0.1.2", "10.0.2.9"], "ok | {want} | 10.0.1.2 10.0.2.9 | r1 left out after an ICMP redirect"),
        (
            ["10.0.1.2", "10.0.1.2", "10.0.2.9"],
            "ok | {want} | 10.0.1.2 10.0.1.2 10.0.2.9 | r1 left out after an ICMP redirect",
        ),
        (
            ["10.0.1.1", "10.0.2.9"],
            "ok | {want} | 10.0.1.1 10.0.2.9 | r1 left out after an ICMP redirect",
        ),
        (
            ["10.0.1.7", "10.0.1.2", "10.0.2.9"],
            "failed | {want} | 10.0.1.7 10.0.1.2 10.0.2.9 | {why}",
        ),
        (
            ["10.0.1.1", "", "10.0.2.9"],
            "unknown | {want} | 10.0.1.1 * 10.0.2.9 | no answer from r2 (hop 2), asked once; b answered",
        ),
    ],
)
def test_hops_against_the_expected_ones(hops: list[str], expected: str) -> None:
    of = two_routers()
    answers = {ttl: ip_address(hop) for ttl, hop in enumerate(hops, 1) if hop}
    healthy = one_nic(of, "a")
    found = replace(healthy, traces={("b", 4): Trace(answers, len(hops), "udp", 1)})
    row = rows_of(of, {"a": found}, "a", "path")[2]
    assert row == "a | path | a -> b | " + expected.format(
        want="10.0.1.1 10.0.1.2 10.0.2.9", why="packets take another path than the lab file implies"
    )


def test_ipv6_has_rows_of_its_own() -> None:
    of = lab(
        [network("n1", "10.0.1.0/24", cidr6="fd00:1::/64")],
        [host("a", {"n1": "10.0.1.5/24 fd00:1::5/64"}), host("b", {"n1": "10.0.1.6/24 fd00:1::6/64"})],
    )
    healthy = one_nic(of, "a")
    found = replace(
        healthy,
        traces={
            ("b", 4): Trace({1: ip_address("10.0.1.6")}, 1, "udp", 1),
            ("b", 6): Trace({}, None, "udp", 1),
        },
    )
    assert rows_of(of, {"a": found}, "a", "address", "route", "path") == [
        "a | address | n1 | ok | 10.0.1.5/24 fd00:1::5/64 | 10.0.1.5/24 fd00:1::5/64 | -",
        "a | route | 10.0.1.0/24 | ok | connected | connected | -",
        "a | route | fd00:1::/64 | ok | connected | connected | -",
        "a | path | a -> b | ok | 10.0.1.6 | 10.0.1.6 | -",
        "a | path | a -> b (IPv6) | failed | fd00:1::6 | * | no answer",
    ]


def test_an_address_from_another_dhcp_server_is_right_whatever_it_is() -> None:
    of = lab([network("office", None, "bridge")], [host("a", {"office": "dhcp"})])
    given = one_nic(of, "a", held=(LinkAddress(ip_interface("192.0.2.7/24")),))
    route = ObservedRoute(ip_network("192.0.2.0/24"), None, "eth0", protocol="kernel")
    default = ObservedRoute(ip_network("0.0.0.0/0"), ip_address("192.0.2.1"), "eth0", protocol="dhcp")
    assert rows_of(of, {"a": replace(given, routes=(route, default))}, "a", "address", "route") == [
        "a | address | office | ok | an address by DHCP | 192.0.2.7/24 | -"
    ]
    assert rows_of(of, {"a": one_nic(of, "a")}, "a", "address") == [
        "a | address | office | failed | an address by DHCP | none | eth0 does not have it"
    ]


@pytest.mark.parametrize(
    ("route", "rows"),
    [
        (ObservedRoute(ip_network("10.0.1.1/32"), None, "eth0", protocol="dhcp"), 0),
        (ObservedRoute(ip_network("10.0.9.1/32"), None, "eth0", protocol="dhcp"), 1),
        (ObservedRoute(ip_network("10.0.1.1/32"), ip_address("10.0.1.7"), "eth0", protocol="dhcp"), 1),
        (ObservedRoute(ip_network("10.0.1.1/32"), None, "eth0", protocol="static"), 1),
    ],
    ids=["own subnet", "another", "by a gateway", "by hand"],
)
def test_a_lease_may_bring_a_route_to_an_address_on_the_nics_own_subnet(
    route: ObservedRoute, rows: int
) -> None:
    of = lab([network("n1", "10.0.1.0/24")], [host("a", {"n1": "10.0.1.5/24"})])
    healthy = one_nic(of, "a")
    found = rows_of(of, {"a": replace(healthy, routes=(*healthy.routes, route))}, "a", "route")
    assert len([row for row in found if "absent" in row]) == rows


def test_a_check_between_hosts_without_a_common_ip_version_says_so() -> None:
    of = replace(
        lab(
            [network("n1", "10.3.1.0/24", cidr6="fd00:31::/64")],
            [host("four", {"n1": "10.3.1.4/24"}), host("six", {"n1": "fd00:31::6/64"})],
        ),
        checks=(Check("ping", "four", "six", "ping", ""),),
    )
    shown = Capture(links={}, routes=(), facts=Facts())
    (row,) = [row for row in judge(of, {"four": shown}) if row.section == "check"]
    assert line(row) == (
        "four | check | ping | unknown | open | - | six: it has only IPv6 in the lab file, and four only IPv4"
    )


TOLERATED = "`routes: {ignore: [proto bird]}` in the lab file tolerates what bird sets"
MAC_BACK = "`ip link set dev eth0 address 02:c0:00:00:01:01`"


@pytest.mark.parametrize(
    ("prefix", "via", "device", "kind", "protocol", "cure"),
    [
        ("10.9.0.0/16", "10.3.1.12", "eth0", "unicast", "", ""),
        ("10.9.0.0/16", "10.3.1.12", "eth0", "unicast", "static", ""),
        ("10.9.0.0/16", None, "", "blackhole", "", "; `ip route del blackhole 10.9.0.0/16` removes it"),
        ("10.9.0.0/16", None, "", "prohibit", "", "; `ip route del prohibit 10.9.0.0/16` removes it"),
        (
            "fd09::/64",
            None,
            "lo",
            "unreachable",
            "boot",
            "; `ip -6 route del unreachable fd09::/64` removes it",
        ),
        (
            "10.9.0.0/16",
            "10.3.1.12",
            "eth0",
            "unicast",
            "bird",
            f"; `ip route del 10.9.0.0/16 via 10.3.1.12 dev eth0 proto bird` removes it; {TOLERATED}",
        ),
        (
            "10.3.2.0/25",
            None,
            "wg0",
            "unicast",
            "static",
            "; `ip route del 10.3.2.0/25 dev wg0 proto static` removes it",
        ),
        ("10.3.2.0/25", None, "docker0", "unicast", "kernel", ""),
    ],
)
def test_a_route_that_configure_leaves_alone_names_the_command_that_removes_it(
    prefix: str, via: str | None, device: str, kind: str, protocol: str, cure: str
) -> None:
    of = recorded_lab()
    healthy = one_nic(of, "a")
    extra = ObservedRoute(ip_network(prefix), ip_address(via) if via else None, device, kind, protocol)
    (row,) = [
        row
        for row in judge(of, {"a": replace(healthy, routes=(*healthy.routes, extra))}, ["a"])
        if row.section == "route" and row.name == prefix
    ]
    assert row.why == f"the lab file has no such route{cure}"


@pytest.mark.parametrize(
    ("changes", "odd"),
    [
        ({"source": ip_address("172.31.0.1"), "protocol": "static"}, "src 172.31.0.1"),
        ({"source": ip_address("10.3.1.11"), "protocol": "static"}, None),
        # From a lease, or from the kernel for another address of the NIC.
        ({"source": ip_address("172.31.0.1"), "protocol": "dhcp"}, None),
        ({"mtu": 600}, "mtu 600"),
        ({"mtu": 600, "protocol": "ra"}, None),
        ({"mtu": 1500}, None),
        ({"mtu": 9000}, None),
    ],
)
def test_a_route_with_a_source_or_an_mtu_of_its_own_is_not_the_file_s(
    changes: dict[str, Any], odd: str | None
) -> None:
    of = recorded_lab()
    healthy = one_nic(of, "a")
    routes = tuple(
        replace(each, **changes) if each.prefix.prefixlen == 0 else each for each in healthy.routes
    )
    rows = judge(of, {"a": replace(healthy, routes=routes)}, ["a"])
    (row,) = [row for row in rows if row.section == "route" and row.name == "default"]
    if odd is None:
        assert row.status is Status.OK
        return
    cure = " ".join(
        [
            "`ip route replace default via 10.3.1.254 dev eth0",
            *(["proto static"] if "source" in changes else []),
        ]
    )
    assert row.status is Status.FAILED
    assert (row.why or "").startswith(f"the lab file has it without {odd}: {cure}")
    assert row.actual == f"via 10.3.1.254 {odd}"


def test_a_source_and_an_mtu_that_the_properties_give_are_as_in_the_file() -> None:
    of = recorded_lab()
    (nic,) = of.hosts["a"].interfaces
    told = replace(nic, nmcli={"ipv4.routes": "0.0.0.0/0 10.3.1.254 src=172.31.0.1 mtu=600"})
    of = replace(of, hosts={**of.hosts, "a": replace(of.hosts["a"], interfaces=(told,))})
    healthy = one_nic(of, "a")
    source = ip_address("172.31.0.1")
    routes = tuple(
        replace(each, source=source, mtu=600) if each.prefix.prefixlen == 0 else each
        for each in healthy.routes
    )
    rows = judge(of, {"a": replace(healthy, routes=routes)}, ["a"])
    assert {row.status for row in rows if row.section == "route"} == {Status.OK}


@pytest.mark.parametrize(
    ("addresses", "mtu", "nmcli", "why"),
    [
        ("fd00:1::5/64", 1280, {}, "net.ipv6.conf.eth0.mtu is 1280, not 1500: `{}`"),
        ("10.0.1.5/24 fd00:1::5/64", 1280, {}, "net.ipv6.conf.eth0.mtu is 1280, not 1500: `{}`"),
        ("10.0.1.5/24 fd00:1::5/64", 1500, {}, None),
        ("10.0.1.5/24 fd00:1::5/64", 1280, {"ipv6.mtu": "1280"}, None),
        ("10.0.1.5/24", 1280, {}, None),
    ],
)
def test_a_nic_whose_ipv6_has_a_smaller_mtu_is_named(
    addresses: str, mtu: int, nmcli: dict[str, str], why: str | None
) -> None:
    of = lab([network("n1", "10.0.1.0/24", cidr6="fd00:1::/64")], [host("a", {"n1": addresses})])
    (nic,) = of.hosts["a"].interfaces
    made = Machine("debian-12", 256, 1, 10)
    of = replace(
        of, hosts={"a": replace(of.hosts["a"], machine=made, interfaces=(replace(nic, nmcli=nmcli),))}
    )
    healthy = one_nic(of, "a")
    (link,) = healthy.links.values()
    seen = Evidence(settings={"/proc/sys/net/ipv6/conf/eth0/mtu": f"{mtu}\n"})
    found = replace(healthy, links={link.mac: replace(link, mtu=1500)}, evidence=seen)
    (row,) = [row for row in judge(of, {"a": found}, ["a"]) if row.section == "address"]
    assert (row.why or None) == (why and why.format("sysctl -w net.ipv6.conf.eth0.mtu=1500"))


@pytest.mark.parametrize("prefix", ["10.9.0.0/16", "0.0.0.0/0", "10.3.1.0/24"])
def test_routes_that_the_file_leaves_alone_are_not_too_many(prefix: str) -> None:
    of = recorded_lab()
    healthy = one_nic(of, "a")
    extra = ObservedRoute(ip_network(prefix), ip_address("10.3.1.12"), "eth0", protocol="bird", metric=32)
    found = {"a": replace(healthy, routes=(*healthy.routes, extra))}
    statuses = {row.status for row in judge(of, found, ["a"]) if row.section == "route"}
    assert Status.FAILED in statuses
    host = replace(of.hosts["a"], ignored_routes=(route_pattern("proto bird"),))
    of = replace(of, hosts={**of.hosts, "a": host})
    statuses = {row.status for row in judge(of, found, ["a"]) if row.section == "route"}
    assert statuses == {Status.OK}


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        (
            {"port_of": "vrf7"},
            "eth0 is a port of vrf7: `ip link set dev eth0 nomaster`, then `labrun configure`",
        ),
        (
            {"mac": "02:ff:00:00:00:01", "burned_in": "02:c0:00:00:01:01"},
            f"eth0 has the MAC 02:ff:00:00:00:01, not its own: {MAC_BACK}",
        ),
    ],
)
def test_a_nic_that_configure_leaves_alone_names_the_command(changes: dict[str, str], cure: str) -> None:
    of = recorded_lab()
    capture = one_nic(of, "a")
    (link,) = capture.links.values()
    found = {"a": replace(capture, links={link.mac: replace(link, **changes)})}  # type: ignore[arg-type]
    (row,) = [row for row in judge(of, found, ["a"]) if row.section == "address"]
    assert row.why == cure
    nic = replace(of.hosts["a"].interfaces[0], nmcli={"ethernet.cloned-mac-address": "02:ff:00:00:00:01"})
    of = replace(of, hosts={**of.hosts, "a": replace(of.hosts["a"], interfaces=(nic,))})
    (row,) = [row for row in judge(of, found, ["a"]) if row.section == "address"]
    assert (row.status is Status.OK) is ("burned_in" in changes)


def test_an_address_that_somebody_else_answers_for_is_named() -> None:
    of = recorded_lab()
    healthy = one_nic(of, "a")
    (nic,) = of.hosts["a"].interfaces
    (other,) = of.hosts["b"].interfaces
    assert nic.ipv4 is not None
    for mac, who in (("02:00:00:00:00:99", ""), (other.mac, " (b)")):
        said = Captured(f"10.99.0.1 02:11\n{nic.ipv4.ip} {mac}\nnonsense\n", 0)
        facts = replace(healthy.facts, commands={**healthy.facts.commands, "claims": said})
        row = rows_of(of, {"a": replace(healthy, facts=facts)}, "a", "address")[0]
        assert row.split(" | ")[3] == "failed"
        assert row.endswith(f"{mac}{who} answers for {nic.ipv4.ip} as well")
