"""Profiles as the lab implies them, keyfiles in every spelling, and what counts as a difference."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from labrun.inventory.model import Host, Interface, Lab
from labrun.outcome import Status
from labrun.tasks.configure.nm_choices import choices_diff, ipv6_diff, resolver_diff
from labrun.tasks.configure.nm_diff import file_diff, runtime_diff
from labrun.tasks.configure.nm_profiles import desired_profiles, property_fault
from labrun.tasks.configure.nmcli import Nmcli
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.guest.facts.nics import Nic
from labrun.tasks.guest.facts.nm import Device, NmState
from labrun.tasks.guest.facts.rules import PolicyRule
from labrun.tasks.guest.keyfile import Hop, Sections, intent, parse, properties, render
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.fingerprint import fingerprint
from labrun.tasks.state.verdict import Verdict, verdict
from tests.unit.small_labs import host, lab, network
from tests.unit.tasks.configure.test_cases import facts_of, spec_of

N1 = network("n1", "10.0.1.0/24")
N2 = network("n2", "10.0.2.0/24")
ROUTER = host("r", {"n1": "10.0.1.254/24", "n2": "10.0.2.254/24"}, role="router")


def sections(one: Lab, name: str, nic: int = 0) -> Sections:
    return desired_profiles(one, one.hosts[name])[nic]["settings"]


def with_nic(one: Host, **changes: Any) -> Host:
    nic: Interface = replace(one.interfaces[0], **changes)
    return replace(one, interfaces=(nic, *one.interfaces[1:]))


def test_a_host_has_address_gateway_and_the_hypervisor_s_name_server() -> None:
    found = sections(lab([N1, N2], [ROUTER, host("a", {"n1": "10.0.1.11/24"})]), "a")
    assert found["connection"]["id"] == "labrun-n1"
    assert "interface-name" not in found["connection"]
    assert found["ipv4"] == {
        "method": "manual",
        "address1": "10.0.1.11/24",
        "gateway": "10.0.1.254",
        "dns": "10.0.1.1;",
    }
    assert found["ipv6"] == {"method": "link-local"}


def test_a_router_without_a_way_out_never_has_a_default_route() -> None:
    one = lab([N1, N2], [ROUTER])
    assert [sections(one, "r", nic)["ipv4"]["never-default"] for nic in (0, 1)] == ["true", "true"]


def test_a_router_gets_the_routes_to_networks_it_does_not_touch() -> None:
    n3 = network("n3", "10.0.3.0/24")
    other = host("s", {"n2": "10.0.2.253/24", "n3": "10.0.3.254/24"}, role="router")
    one = lab([N1, N2, n3], [ROUTER, other])
    assert sections(one, "r", 1)["ipv4"]["route1"] == "10.0.3.0/24,10.0.2.253"
    assert "route1" not in sections(one, "r", 0)["ipv4"]


def test_a_declared_route_stands_on_the_nic_it_leaves_by() -> None:
    one = host("a", {"n1": "10.0.1.11/24"}, routes={"10.9.0.0/16": "10.0.1.254"})
    assert sections(lab([N1, N2], [ROUTER, one]), "a")["ipv4"]["route1"] == "10.9.0.0/16,10.0.1.254"


def test_dhcp_behind_a_lab_router_carries_the_route_that_libvirt_does_not_announce() -> None:
    one = lab([N1, N2], [ROUTER, host("a", {"n1": "dhcp 10.0.1.150/24"})])
    assert sections(one, "a")["ipv4"] == {"method": "auto", "route1": "0.0.0.0/0,10.0.1.254"}


def test_dhcp_beside_a_hypervisor_that_forwards_takes_what_is_announced() -> None:
    one = lab([network("n1", "10.0.1.0/24", "nat")], [host("a", {"n1": "dhcp 10.0.1.150/24"})])
    assert sections(one, "a")["ipv4"] == {"method": "auto"}


def test_an_announced_default_that_nobody_wants_is_kept_out() -> None:
    nat = network("n1", "10.0.1.0/24", "nat")
    behind = lab([nat, N2], [ROUTER, host("a", {"n1": "dhcp 10.0.1.150/24"})])
    assert sections(behind, "a")["ipv4"] == {
        "method": "auto",
        "route1": "0.0.0.0/0,10.0.1.254",
        "ignore-auto-routes": "true",
    }
    without = lab([nat], [host("a", {"n1": "dhcp 10.0.1.150/24"}, gateway="none")])
    assert sections(without, "a")["ipv4"] == {"method": "auto", "never-default": "true"}


def test_both_versions_stand_beside_each_other() -> None:
    dual = network("n1", "10.0.1.0/24", cidr6="fd00:1::/64")
    router = host("r", {"n1": "10.0.1.254/24 fd00:1::fe/64"}, role="router")
    found = sections(lab([dual], [router, host("a", {"n1": "10.0.1.11/24 fd00:1::11/64"})]), "a")
    assert found["ipv6"] == {"method": "manual", "address1": "fd00:1::11/64", "gateway": "fd00:1::fe"}


def test_a_nic_without_ipv6_in_the_lab_file_takes_none_from_router_advertisements() -> None:
    dual = network("n1", "10.0.1.0/24", "nat", cidr6="fd00:1::/64")
    one = lab([dual], [host("a", {"n1": "dhcp 10.0.1.150/24"}), host("b", {"n1": "10.0.1.11/24"})])
    assert sections(one, "a")["ipv6"] == sections(one, "b")["ipv6"] == {"method": "link-local"}


def test_an_ipv6_gateway_is_written_down_even_where_the_hypervisor_announces_itself() -> None:
    dual = network("n1", "10.0.1.0/24", "nat", cidr6="fd00:1::/64")
    one = lab([dual], [host("a", {"n1": "dhcp 10.0.1.150/24 fd00:1::11/64"})])
    assert sections(one, "a")["ipv4"] == {"method": "auto"}
    assert sections(one, "a")["ipv6"]["gateway"] == "fd00:1::1"


def test_mtu_and_domain_of_the_network_reach_the_profile() -> None:
    one = lab([replace(N1, mtu=1400, domain="lab.example")], [host("a", {"n1": "10.0.1.11/24"})])
    assert sections(one, "a")["ethernet"]["mtu"] == "1400"
    assert sections(one, "a")["ipv4"]["dns-search"] == "lab.example;"


def test_the_usual_mtu_is_expected_where_labrun_made_machine_and_network() -> None:
    """As `verify` does."""
    plain = host("a", {"n1": "10.0.1.11/24"})
    existing = replace(plain, address="192.0.2.1", machine=None)
    for one_network, one_host, expected in (
        (N1, plain, True),
        (replace(N1, mtu=1500), plain, False),
        (N1, existing, False),
    ):
        (wanted,) = desired_profiles(lab([one_network], [one_host]), one_host)
        assert wanted["usual_mtu"] is expected


def test_a_network_without_the_hypervisor_has_no_name_server() -> None:
    one = lab([network("n1", "10.0.1.0/24", "very-isolated")], [host("a", {"n1": "10.0.1.11/24"})])
    assert "dns" not in sections(one, "a")["ipv4"]


def test_uuids_depend_on_lab_host_and_network_only() -> None:
    one = lab([N1, N2], [ROUTER, host("a", {"n1": "10.0.1.11/24"})])
    uuids = [sections(one, name, nic)["connection"]["uuid"] for name, nic in (("r", 0), ("r", 1), ("a", 0))]
    assert len(set(uuids)) == 3
    again = lab([N1], [host("a", {"n1": "10.0.1.99/24"})])
    assert sections(again, "a")["connection"]["uuid"] == uuids[2]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("ipv4.dns", "1.1.1.1", None),
        ("802-3-ethernet.mtu", "", None),
        ("+ipv4.dns", "1.1.1.1", "'+ipv4.dns' is not a property of nmcli"),
        ("ipv4", "x", "'ipv4' is not a property of nmcli"),
        ("--ask", "x", "'--ask' is not a property of nmcli"),
        ("connection.uuid", "x", "connection.uuid identifies the profile to labrun and cannot be set"),
        ("con.id", "x", "con.id identifies the profile to labrun and cannot be set"),
        ("eth.mac", "x", "eth.mac identifies the profile to labrun and cannot be set"),
        ("connection.interface-names", "x", None),
        ("ipv4.dns", "a\0b", "ipv4.dns: a value cannot contain a NUL character"),
        ("ipv4.dns", "a\ud800b", "ipv4.dns: a value must be valid UTF-8 text"),
    ],
)
def test_properties_of_the_lab_file_are_checked_before_they_reach_a_shell(
    name: str, value: str, why: str | None
) -> None:
    assert property_fault(name, value) == why


SPELLINGS = """\
[connection]
id=x
uuid=1
timestamp=99
permissions=
[802-3-ethernet]
mac-address=02:AA:00:00:00:01
cloned-mac-address=02:55:31:BD:C9:82
mac-address-blacklist=02:AA:00:00:00:09
[ipv4]
method=manual
addresses1=10.0.0.1/24,10.0.0.254
dns=9.9.9.9;1.1.1.1;
route2=10.9.0.0/16,10.0.0.2
route1=10.8.0.0/16,10.0.0.2
may-fail=yes
[ipv6]
addr-gen-mode=default
method=link-local
[proxy]
"""
PLAIN = """\
# a comment
[connection]
id=x
uuid=2
[ethernet]
mac-address=02:aa:00:00:00:01
cloned-mac-address=02:55:31:bd:c9:82
mac-address-blacklist=02:aa:00:00:00:09
[ipv4]
method=manual
address1=10.0.0.1/24
gateway=10.0.0.254
dns=9.9.9.9;1.1.1.1
route1=10.9.0.0/16,10.0.0.2
route2=10.8.0.0/16,10.0.0.2
[ipv6]
method=link-local
"""


def test_two_spellings_of_one_profile_are_no_difference() -> None:
    assert properties(parse(SPELLINGS)) == properties(parse(PLAIN))
    assert list(file_diff(parse(PLAIN), parse(SPELLINGS))) == []


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            "gateway=10.0.0.254",
            "gateway=10.0.0.253",
            ["-ipv4.gateway: 10.0.0.253", "+ipv4.gateway: 10.0.0.254"],
        ),
        ("id=x", "id=x\nzone=work", ["-connection.zone: work"]),
        ("method=link-local", "", ["+ipv6.method: link-local"]),
        (
            "dns=9.9.9.9;1.1.1.1",
            "dns=1.1.1.1;9.9.9.9",
            ["-ipv4.dns: 1.1.1.1,9.9.9.9", "+ipv4.dns: 9.9.9.9,1.1.1.1"],
        ),
    ],
)
def test_each_difference_is_told_by_its_property(old: str, new: str, lines: list[str]) -> None:
    assert list(file_diff(parse(PLAIN), parse(PLAIN.replace(old, new)))) == lines


def hop(to: str, via: str | None = None) -> Hop:
    return Hop(ip_network(to), ip_interface(via).ip if via else None)


def device(**changes: Any) -> Device:
    one = Device("/2", "eth0", "02:aa:00:00:00:01", 100, "2", "x", "/etc/x", ("9.9.9.9", "1.1.1.1"))
    return replace(one, **changes)


def link(**changes: Any) -> Nic:
    address = ip_interface("10.0.0.1/24")
    routes = {
        hop("0.0.0.0/0", "10.0.0.254"): "static",
        hop("10.9.0.0/16", "10.0.0.2"): "static",
        hop("10.8.0.0/16", "10.0.0.2"): "static",
        hop("10.0.0.0/24"): "kernel",
    }
    return replace(Nic(1500, frozenset({address}), frozenset({address}), routes), **changes)


def test_a_kernel_that_does_what_the_profile_says_is_no_difference() -> None:
    assert list(runtime_diff(parse(PLAIN), device(), link())) == []


def without(one: Nic, *gone: Hop, **more: str) -> Nic:
    routes = {where: protocol for where, protocol in one.routes.items() if where not in gone}
    return replace(one, routes=routes | {hop("10.77.0.0/16", "10.0.0.9"): name for name in more.values()})


@pytest.mark.parametrize(
    ("have", "lines"),
    [
        (link(addresses=frozenset(), lasting=frozenset()), ["+address 10.0.0.1/24"]),
        (
            link(addresses=frozenset({ip_interface("10.0.0.1/24"), ip_interface("10.0.0.9/24")})),
            ["-address 10.0.0.9/24"],
        ),
        (
            link(
                lasting=frozenset({ip_interface("fd00::1/64")}),
                addresses=frozenset({ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64")}),
            ),
            ["-address fd00::1/64"],
        ),
        (without(link(), hop("0.0.0.0/0", "10.0.0.254")), ["+route default via 10.0.0.254"]),
        (without(link(), by="boot"), ["-route 10.77.0.0/16 via 10.0.0.9"]),
        (without(link(), by="bird"), []),
        (without(link(), by="kernel"), []),
    ],
)
def test_what_somebody_did_with_ip_is_seen(have: Nic, lines: list[str]) -> None:
    assert list(runtime_diff(parse(PLAIN), device(), have)) == lines


def test_a_missing_name_server_and_another_mtu_are_seen() -> None:
    assert list(runtime_diff(parse(PLAIN), device(dns=("9.9.9.9",)), link())) == ["+eth0: dns 1.1.1.1"]
    named = parse(PLAIN.replace("[ipv4]", "mtu=1400\n[ipv4]"))
    assert list(runtime_diff(named, device(), link())) == ["-eth0: mtu 1500", "+eth0: mtu 1400"]
    small = link(mtu=1400)
    assert list(runtime_diff(parse(PLAIN), device(), small)) == []
    for sections, lines in ((named, []), (parse(PLAIN), ["-eth0: mtu 1400", "+eth0: mtu 1500"])):
        assert list(runtime_diff(sections, device(), small, has_usual_mtu=True)) == lines


_MORE = """\
route-metric=50
route3=10.7.0.0/16,10.0.0.2,7
routing-rule1=priority 9 from 0.0.0.0/0 to 9.9.9.9 table 254
routing-rule2=not priority 10 iif eth0 fwmark 0x1 type blackhole
dns-search=~a.test;b.test
[ipv6]"""
CHOOSING = PLAIN.replace("[ipv6]", _MORE)
RULES = (
    PolicyRule(9, None, ip_network("9.9.9.9/32"), "lookup main", 4),
    PolicyRule(10, None, None, "blackhole", 4, "eth0", "iif eth0 fwmark 0x1", negated=True),
)


def metrics(**changed: int) -> Nic:
    of = {"default": 50, "nine": 50, "eight": 50, "seven": 7, **changed}
    hops = {
        "default": hop("0.0.0.0/0", "10.0.0.254"),
        "nine": hop("10.9.0.0/16", "10.0.0.2"),
        "eight": hop("10.8.0.0/16", "10.0.0.2"),
        "seven": hop("10.7.0.0/16", "10.0.0.2"),
    }
    found = {hops[name]: frozenset({metric}) for name, metric in of.items()}
    return link(routes={**link().routes, hops["seven"]: "static"}, metrics=found)


@pytest.mark.parametrize(
    ("have", "searches", "rules", "lines"),
    [
        (metrics(), ("b.test.", "A.test"), RULES, []),
        # An older NetworkManager does not tell, and nobody asked for the rules.
        (metrics(), None, None, []),
        (
            metrics(default=10),
            None,
            None,
            ["-route default via 10.0.0.254 metric 10", "+route default via 10.0.0.254 metric 50"],
        ),
        (
            metrics(seven=50),
            None,
            None,
            ["-route 10.7.0.0/16 via 10.0.0.2 metric 50", "+route 10.7.0.0/16 via 10.0.0.2 metric 7"],
        ),
        (metrics(), ("x.test", "b.test"), RULES, ["-eth0: search x.test", "+eth0: search ~a.test"]),
        (metrics(), None, RULES[:1], ["+ip rule not priority 10 iif eth0 fwmark 0x1 type blackhole"]),
        (
            metrics(),
            None,
            (replace(RULES[0], priority=8), RULES[1]),
            ["+ip rule priority 9 from 0.0.0.0/0 to 9.9.9.9 table 254"],
        ),
        (
            metrics(),
            None,
            (replace(RULES[0], action="lookup 9"), RULES[1]),
            ["+ip rule priority 9 from 0.0.0.0/0 to 9.9.9.9 table 254"],
        ),
        # A name that the host gives a table.
        (metrics(), None, (replace(RULES[0], action="lookup mine"), RULES[1]), []),
    ],
)
def test_what_decides_among_routes_and_names_is_compared_where_the_profile_gives_it(
    have: Nic, searches: tuple[str, ...] | None, rules: tuple[PolicyRule, ...] | None, lines: list[str]
) -> None:
    state = NmState({}, {}, frozenset(), rules)
    assert list(choices_diff(parse(CHOOSING), device(searches=searches), have, state.rules)) == lines
    assert list(choices_diff(parse(PLAIN), device(searches=("x.test",)), have, state.rules)) == []


def test_the_metric_of_a_lease_s_routes_is_compared_and_0_is_1024_to_ipv6() -> None:
    default, six = hop("0.0.0.0/0", "10.0.0.1"), hop("::/0", "fd00::1")
    nic = link(routes={default: "dhcp"}, metrics={default: frozenset({100})})
    state = NmState({}, {}, frozenset())
    asked = parse("[ipv4]\nmethod=auto\nroute-metric=7\n")
    assert list(choices_diff(asked, device(), nic, state.rules)) == [
        "-route default via 10.0.0.1 metric 100",
        "+route default via 10.0.0.1 metric 7",
    ]
    asked = parse("[ipv6]\nmethod=manual\naddress1=fd00::9/64\ngateway=fd00::1\nroute-metric=0\n")
    nic = link(routes={six: "static"}, metrics={six: frozenset({1024})})
    assert list(choices_diff(asked, device(), nic, state.rules)) == []


def test_name_servers_that_somebody_takes_out_of_resolv_conf_are_missed() -> None:
    def lines(have: tuple[str, ...], written: tuple[str, ...], leased: tuple[str, ...] = ()) -> list[str]:
        nic = replace(device(), dns=leased)
        return list(resolver_diff(parse(PLAIN), nic, NmState({}, {}, frozenset(), resolver=(have, written))))

    both = ("9.9.9.9", "1.1.1.1")
    assert lines(both, both) == []
    assert lines(("8.8.8.8", "1.1.1.1"), both) == [
        "-/etc/resolv.conf: nameserver 8.8.8.8",
        "+/etc/resolv.conf: nameserver 9.9.9.9",
    ]
    # NetworkManager itself leaves those of this NIC out: another one has priority.
    assert lines(("8.8.8.8",), ("8.8.8.8",)) == []
    assert list(resolver_diff(parse(PLAIN), device(), NmState({}, {}, frozenset()))) == []
    # One that came with a lease is in no profile.
    assert lines(("8.8.8.8",), ("10.0.0.1",), leased=("10.0.0.1",)) == [
        "-/etc/resolv.conf: nameserver 8.8.8.8",
        "+/etc/resolv.conf: nameserver 10.0.0.1",
    ]
    assert lines(("10.0.0.1",), ("10.0.0.1",), leased=("10.0.0.1", "10.0.0.2")) == []


def test_name_servers_of_a_lease_are_missed_as_well() -> None:
    leased = parse("[connection]\ntype=ethernet\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=link-local\n")

    def lines(have: tuple[str, ...], written: tuple[str, ...]) -> list[str]:
        nic = replace(device(), dns=written)
        return list(resolver_diff(leased, nic, NmState({}, {}, frozenset(), resolver=(have, written))))

    assert lines(("10.0.0.1",), ("10.0.0.1",)) == []
    assert lines(("10.0.0.1", "9.9.9.9"), ("10.0.0.1",)) == []
    assert lines(("192.0.2.9",), ("10.0.0.1",)) == [
        "-/etc/resolv.conf: nameserver 192.0.2.9",
        "+/etc/resolv.conf: nameserver 10.0.0.1",
    ]
    assert lines((), ()) == []


def test_a_nic_whose_ipv6_is_switched_off_is_named_where_the_profile_has_any() -> None:
    off = frozenset({"eth0", "all"})
    six = parse(PLAIN.replace("method=link-local", "method=manual\naddress1=fd00::9/64"))
    assert list(ipv6_diff(six, "eth0", off)) == [
        "-net.ipv6.conf.eth0.disable_ipv6: 1",
        "+net.ipv6.conf.eth0.disable_ipv6: 0",
    ]
    assert list(ipv6_diff(six, "eth1", off)) == []
    assert list(ipv6_diff(parse(PLAIN), "eth0", off)) == []


DHCP = "[ipv4]\nmethod=auto\n{}[ipv6]\nmethod=link-local\n"
LEASED = link(
    lasting=frozenset(), routes={hop("0.0.0.0/0", "10.0.0.1"): "dhcp", hop("10.0.0.0/24"): "kernel"}
)


@pytest.mark.parametrize(
    ("extra", "have", "lines"),
    [
        ("", LEASED, []),
        ("never-default=true\n", LEASED, ["-route default via 10.0.0.1"]),
        ("ignore-auto-routes=true\n", LEASED, ["-route default via 10.0.0.1"]),
        ("", replace(LEASED, addresses=frozenset()), ["+address by DHCP"]),
        ("", replace(LEASED, lasting=LEASED.addresses), ["-address 10.0.0.1/24"]),
        ("route1=0.0.0.0/0,10.0.0.254\n", LEASED, ["+route default via 10.0.0.254"]),
    ],
)
def test_a_lease_brings_what_it_may_and_no_more(extra: str, have: Nic, lines: list[str]) -> None:
    assert list(runtime_diff(parse(DHCP.format(extra)), device(), have)) == lines


def test_an_intent_is_typed() -> None:
    meant = intent(parse(SPELLINGS), 4)
    assert meant.addresses == (ip_interface("10.0.0.1/24"),)
    assert hop("0.0.0.0/0", "10.0.0.254") in meant.routes
    assert str(hop("0.0.0.0/0", "10.0.0.254")) == "default via 10.0.0.254"


@pytest.mark.parametrize(
    "settings",
    [
        "route1=10.9.0.0/16,10.0.0.254\nroute1_options=table=100\n",
        "route1=10.9.0.0/16\nroute1_options=type=blackhole\n",
        "route1=10.9.0.0/16,10.0.0.254\ngateway=10.0.0.254\nroute-table=100\n",
    ],
    ids=["one in a table of its own", "one that sends nothing on", "all in a table of their own"],
)
def test_routes_that_the_main_table_does_not_have_are_not_missed_there(settings: str) -> None:
    text = f"[ipv4]\nmethod=manual\naddress1=10.0.0.1/24\n{settings}"
    assert intent(parse(text), 4).routes == frozenset()
    plain = text.replace("=100", "=254").replace("blackhole", "unicast")
    assert hop("10.9.0.0/16", None if "blackhole" in text else "10.0.0.254") in intent(parse(plain), 4).routes


def plan_with(case: str, **changes: Any) -> SectionPlan:
    return Nmcli().plan(spec_of(case)["sections"]["nmcli"], replace(facts_of(case), **changes))


def test_a_guest_without_networkmanager_is_told_so() -> None:
    commands = {**facts_of("host-fresh").commands, "nm": Captured("Failed to connect to bus\n", 1)}
    (item,) = plan_with("host-fresh", commands=commands).items
    assert (item.state, item.why) == (
        "refused",
        "NetworkManager cannot be queried: Failed to connect to bus",
    )


def test_a_nic_that_is_not_there_is_named_by_its_mac() -> None:
    wanted = spec_of("host-fresh")["sections"]["nmcli"]
    wanted["profiles"][0]["mac"] = "02:00:00:00:00:99"
    (item,) = Nmcli().plan(wanted, facts_of("host-fresh")).items
    assert (item.state, item.why) == (
        "refused",
        (
            "no NIC here has the MAC 02:00:00:00:00:99: `labrun up` plugs in one that is missing,"
            " `labrun restart` takes back another MAC"
        ),
    )


def stored(case: str) -> tuple[str, str]:
    """Return path and text of labrun's own profile of a case."""
    return next((p, t) for p, t in facts_of(case).files.items() if "/labrun-" in p)


def test_cloud_init_s_profile_is_taken_over_with_its_uuid_so_that_reapply_can_do_it() -> None:
    plan = plan_with("host-fresh")
    cloud = next(text for path, text in facts_of("host-fresh").files.items() if "/cloud-init-" in path)
    uuid = parse(cloud)["connection"]["uuid"]
    assert f"\nuuid={uuid}\n" in plan.apply
    assert f"bring eth0 {uuid} /org/freedesktop/NetworkManager/Devices/2 n1" in plan.apply
    assert "rm -f /etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection" in plan.apply


def test_a_profile_of_a_former_network_goes_and_no_other_one_does() -> None:
    _, text = stored("host-configured")
    files = dict(facts_of("host-configured").files)
    files["/etc/NetworkManager/system-connections/labrun-old.nmconnection"] = text
    files["/etc/NetworkManager/system-connections/cloud-init-eth7.nmconnection"] = (
        "[connection]\ninterface-name=eth7\n"
    )
    plan = plan_with("host-configured", files=files)
    assert [(item.name, item.state, item.expected) for item in plan.items] == [
        ("n1", "ok", "10.5.1.11/24 via 10.5.1.254"),
        ("old", "change", "not declared"),
    ]
    assert plan.items[1].actual == "profile labrun-old"
    assert plan.items[1].diff == "-/etc/NetworkManager/system-connections/labrun-old.nmconnection"
    assert "eth7" not in plan.apply
    assert plan.commands == ("nmcli connection delete labrun-old",)


def test_a_profile_that_was_applied_and_is_asked_for_no_more_is_pending_while_it_is_the_same() -> None:
    (applied,) = (fingerprint(item) for item in plan_with("host-configured").items)
    path, text = stored("host-configured")
    wanted = {**spec_of("host-configured")["sections"]["nmcli"], "profiles": []}

    def status(text: str) -> Status:
        facts = facts_of("host-configured")
        (left,) = Nmcli().plan(wanted, replace(facts, files={**facts.files, path: text})).items
        return verdict(left, applied, asked=False).status

    assert status(text) is Status.PENDING
    assert status(text.replace("priority=200", "priority=1")) is Status.CONFLICT


def test_who_has_moved_is_told_of_file_and_nic_apart() -> None:
    (applied,) = (fingerprint(item) for item in plan_with("host-configured").items)
    path, text = stored("host-configured")
    files = {**facts_of("host-configured").files, path: text.replace("priority=200", "priority=1")}
    (edited,) = plan_with("host-configured", files=files).items
    assert verdict(edited, applied) == Verdict(Status.DRIFTED, {"profile": Status.DRIFTED})
    (by_hand,) = plan_with("host-changed-by-hand").items
    assert verdict(by_hand, applied).parts["nic"] is Status.DRIFTED
    gone = replace(edited, have={}, refused="no answer")
    assert verdict(gone, applied).status is Status.UNKNOWN
    wanted = spec_of("host-configured")["sections"]["nmcli"]
    (profile,) = wanted["profiles"]
    more = {**profile, "settings": {**profile["settings"], "ipv4": {"method": "auto"}}}
    (asked,) = Nmcli().plan({**wanted, "profiles": [more]}, facts_of("host-configured")).items
    assert verdict(asked, applied).status is Status.PENDING


def test_a_profile_that_nmcli_makes_without_a_setting_of_ipv6_is_read() -> None:
    wanted = spec_of("host-configured")["sections"]["nmcli"]
    (profile,) = wanted["profiles"]
    said = {name: values for name, values in profile["settings"].items() if name != "ipv6"}
    facts = facts_of("host-configured")
    commands = {**facts.commands, "profile-n1": Captured(render(said), 0)}
    properties = {"ipv4.dns-priority": "5"}
    asked = {**wanted, "profiles": [{**profile, "properties": properties}]}
    (item,) = Nmcli().plan(asked, replace(facts, commands=commands)).items
    assert item.state == "change"


def test_a_file_of_another_name_with_the_same_profile_is_loaded_again() -> None:
    path, _ = stored("host-configured")
    said = facts_of("host-configured").commands["nm"]
    moved = Captured(said.text.replace(path, "/etc/NetworkManager/system-connections/x.nmconnection"), 0)
    commands = {**facts_of("host-configured").commands, "nm": moved}
    (item,) = plan_with("host-configured", commands=commands).items
    assert (item.state, item.why) == ("change", "NetworkManager has not loaded the file")


def test_exclusive_removes_what_labrun_does_not_know() -> None:
    wanted = {**spec_of("host-configured")["sections"]["nmcli"], "exclusive": True}
    path, _ = stored("host-configured")
    facts = facts_of("host-configured")
    more = facts.commands["nm"].text.replace(
        f'"{path}"', '"/etc/NetworkManager/system-connections/home office.nmconnection"'
    )
    # The profile of that name is known to NetworkManager in place of labrun's own.
    have: Facts = replace(facts, commands={**facts.commands, "nm": Captured(more, 0)})
    plan = Nmcli().plan(wanted, have)
    assert ("home office", "change", "not declared") in [(i.name, i.state, i.expected) for i in plan.items]
    assert "rm -f '/etc/NetworkManager/system-connections/home office.nmconnection'" in plan.apply
    kept = Nmcli().plan({**wanted, "exclusive": False}, have)
    assert "home office" not in kept.apply


def test_why_an_active_profile_is_not_in_force_and_why_one_is_not_read() -> None:
    facts, path = facts_of("host-changed-by-hand"), stored("host-configured")[0]
    (plain,) = plan_with("host-changed-by-hand").items
    script = "/etc/NetworkManager/dispatcher.d/90-x"
    (undone,) = plan_with("host-changed-by-hand", words=facts.words | {f"dispatcher {script}"}).items
    said = f"something changed what the active profile sets; NetworkManager's dispatcher runs {script}"
    assert (undone.state, undone.why) == ("change", "; ".join(filter(None, (plain.why, said))))
    (well,) = plan_with("host-configured", words=frozenset({f"dispatcher {script}"})).items
    assert (well.state, well.why) == ("ok", None)
    commands = {**facts_of("host-configured").commands, "loose": Captured(f"{path}\n", 0)}
    (ignored,) = plan_with("host-configured", commands=commands).items
    assert ignored.state == "change"
    assert ignored.why is not None
    assert ignored.why.startswith(f"NetworkManager ignores {path}, which is not root's alone: `chown root: ")


def test_an_mtu_that_the_file_does_not_name_is_reset_by_the_kernels_own_command() -> None:
    wanted = spec_of("host-configured")["sections"]["nmcli"]
    facts = facts_of("host-configured")
    text = facts.commands["link"].text
    assert '"mtu":1500' in text
    small = {**facts.commands, "link": Captured(text.replace('"mtu":1500', '"mtu":1400'), 0)}
    usual = {**wanted, "profiles": [{**each, "usual_mtu": True} for each in wanted["profiles"]]}
    plan = Nmcli().plan(usual, replace(facts, commands=small))
    (item,) = plan.items
    assert (item.state, item.diff) == ("change", "-eth0: mtu 1400\n+eth0: mtu 1500")
    assert "ip link set dev eth0 mtu 1500\n" in plan.apply
    assert plan.commands[0] == "ip link set dev eth0 mtu 1500"
    assert Nmcli().plan(usual, facts).items[0].state == "ok"
