"""Filters of the hypervisor: their XML and back, plans, and what paths and connections they leave."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from ipaddress import ip_address
from typing import Literal

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.inventory.topology.checks import instances_of
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.reach import Connection, reach
from labrun.inventory.traffic import Filter, FilterRule
from labrun.tasks.provision.domains import nic_xml, nics_of, nics_text
from labrun.tasks.provision.driver import NicSpec
from labrun.tasks.provision.filters import _read, filter_spec, plan_filter
from labrun.tasks.provision.objects import Observed, Spec
from labrun.tasks.provision.specs import machine_spec

LAB = """\
name: small
networks:
  lan: {{cidr: 10.0.1.0/24, cidr6: "fd00:1::/64"}}
hosts:
  a: {{networks: {{lan: {{ipv4: 10.0.1.10, ipv6: "fd00:1::10", filter: it}}}}}}
  b: {{networks: {{lan: {{ipv4: 10.0.1.11, ipv6: "fd00:1::11"}}}}}}
  c: {{networks: {{lan: {{ipv4: 10.0.1.12, ipv6: "fd00:1::12"}}}}}}
filters:
  it: [{}]
"""


def lab(rule: str) -> Lab:
    return load_lab("-", stdin=io.StringIO(LAB.format(rule)))


def spec(*rules: FilterRule) -> Spec:
    return filter_spec(lab("{deny: out}"), Filter("it", rules))


def uuid_of(found: Spec) -> str | None:
    return ET.fromstring(found.xml).findtext("uuid")


def there(*rules: str) -> Observed:
    return Observed("small-it", {"rules": "\n".join(rules)})


def test_tcp_is_denied_in_both_ip_versions_by_frames() -> None:
    found = spec(FilterRule("out", "tcp", ((80, 80),)))
    assert found.xml == (
        f'<filter name="small-it" chain="root"><uuid>{uuid_of(found)}</uuid>'
        '<rule action="drop" direction="out" priority="500"><ip protocol="tcp" dstportstart="80" /></rule>'
        '<rule action="drop" direction="out" priority="500"><ipv6 protocol="tcp" dstportstart="80" /></rule>'
        "</filter>"
    )


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (FilterRule("in", "all"), ["drop in mac"]),
        (FilterRule("inout", "arp"), ["drop in arp", "drop out arp"]),
        (FilterRule("in", "ipv4"), ["drop in ip"]),
        (FilterRule("in", "ipv6"), ["drop in ipv6"]),
        (FilterRule("out", "icmp"), ["drop out ip icmp"]),
        (FilterRule("out", "icmpv6"), ["drop out ipv6 icmpv6"]),
        (FilterRule("in", "udp"), ["drop in ip udp", "drop in ipv6 udp"]),
    ],
)
def test_every_protocol(rule: FilterRule, words: list[str]) -> None:
    assert spec(rule).want["rules"].splitlines() == words


def test_plans_and_their_difference() -> None:
    wanted = spec(FilterRule("out", "icmp"))
    assert plan_filter(wanted, None).action == "create"
    assert plan_filter(wanted, there("drop out ip icmp")).action == "none"
    changed = plan_filter(wanted, there("drop out arp", "drop out ip udp"))
    assert (changed.action, changed.item.diff) == (
        "update",
        "-drop out arp\n-drop out ip udp\n+drop out ip icmp",
    )


def test_the_order_of_rules_counts_and_a_filter_without_rules_is_one() -> None:
    both = spec(FilterRule("out", "icmp"), FilterRule("in", "arp"))
    turned = plan_filter(both, there("drop in arp", "drop out ip icmp"))
    assert (turned.action, turned.item.diff) == ("update", None)
    assert [plan_filter(spec(), each).action for each in (None, there(), there("drop in arp"))] == [
        "create",
        "none",
        "update",
    ]


def test_a_filter_is_this_lab_s_by_its_name_s_uuid() -> None:
    other = filter_spec(lab("{deny: out}"), Filter("other", ()))
    assert uuid_of(spec()) != uuid_of(other)
    assert uuid_of(spec()) == uuid_of(spec(FilterRule("in")))


def test_a_nic_keeps_its_filter_through_libvirt_s_xml() -> None:
    (nic,) = machine_spec(of := lab("{deny: out}"), of.hosts["a"]).nics
    assert nic.filter == "small-it"
    container, machine = nic_xml(nic), nic_xml(nic, "virtio")
    # Rules go by the name of the NIC's end here, which is at most 15 characters long.
    device = f"lr{nic.mac.replace(':', '')}"
    assert len(device) <= 15
    for xml in (container, machine):
        assert f'<target dev="{device}"/>' in xml
        back = nics_of(f"<domain><devices>{xml}</devices></domain>")
        assert nics_text(back) == nics_text((nic,)) == f"{nic.mac}@small-lan+small-it%{device}"
    plain = NicSpec(nic.mac, nic.source)
    assert "filterref" not in nic_xml(plain)
    assert "target" not in nic_xml(plain)
    assert nics_text((plain,)) == f"{nic.mac}@small-lan"


@pytest.mark.parametrize(
    ("rule", "lost"),
    [
        ("{deny: out, proto: tcp, port: 80}", ""),
        ("{deny: in, proto: udp}", ""),
        ("{deny: out, proto: icmp}", "4"),
        ("{deny: in, proto: icmp}", "4"),
        ("{deny: in, proto: arp}", "4"),
        ("{deny: out, proto: ipv4}", "4"),
        ("{deny: out, proto: icmpv6}", "6"),
        ("{deny: in, proto: ipv6}", "6"),
        ("{deny: in}", "46"),
    ],
)
def test_whoever_echo_cannot_reach_is_not_expected_to_answer(rule: str, lost: str) -> None:
    found = expectations(lab(rule))
    why = "hypervisor: the filter it drops it at a's NIC on lan"
    for source, target in (("a", "b"), ("b", "a"), ("c", "a")):
        four, six = (found.path(source, target, version).fault for version in (4, 6))
        assert str(four) == (why if "4" in lost else "None")
        assert str(six) == (why if "6" in lost else "None")
    assert found.path("b", "c").fault is None


def drops(rule: str, source: str, address: str, port: int) -> str | None:
    found = reach(lab(rule), Connection(source, ip_address(address), port))
    return None if found is None else found.by


def test_connections_that_a_filter_drops() -> None:
    why = "hypervisor: the filter it drops tcp/{} at a's NIC on lan"
    out = "{deny: out, proto: tcp, port: 80}"
    assert drops(out, "a", "10.0.1.11", 80) == why.format(80)
    assert drops(out, "a", "fd00:1::11", 80) == why.format(80)
    assert drops(out, "a", "10.0.1.11", 81) == ""
    assert drops(out, "b", "10.0.1.10", 80) == ""
    # Without a port the answers are denied as well as the questions.
    assert drops("{deny: in, proto: tcp}", "a", "10.0.1.11", 80) == why.format(80)
    assert drops("{deny: in, proto: udp}", "a", "10.0.1.11", 80) == ""


def test_each_rule_has_a_check() -> None:
    of = lab("{deny: out, proto: tcp, port: 80}, {deny: in, proto: tcp, port: 23}, {deny: in, proto: udp}")
    names = [trial.name for host in of.hosts for trial in instances_of(of, host)]
    assert names == [
        "a -> b tcp/80",
        "a -> b tcp/80 (IPv6)",
        "b -> a tcp/23",
        "b -> a udp/9",
        "b -> a tcp/23 (IPv6)",
        "b -> a udp/9 (IPv6)",
    ]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{deny: in, proto: tcp, port: [80, 8000-8010]}", "drop in {} tcp 80|drop in {} tcp 8000-8010"),
        ("{deny: in, from: b}", "drop in ip from 10.0.1.11/32|drop in ipv6 from fd00:1::11/128"),
        (
            "{deny: out, proto: udp, port: 53, from: 10.0.1.0/25, to: lan}",
            "drop out ip udp 53 from 10.0.1.0/25 to 10.0.1.0/24",
        ),
        ("{deny: out, proto: icmpv6, to: c}", "drop out ipv6 icmpv6 to fd00:1::12/128"),
        ("{deny: out, proto: ipv4, to: c}", "drop out ip to 10.0.1.12/32"),
    ],
)
def test_ports_and_ends_are_written_and_read(rule: str, words: str) -> None:
    of = lab(rule)
    found = filter_spec(of, of.filters["it"])
    levels = ("ip", "ipv6") if "{}" in words else ("",)
    lines = [line.format(level) for level in levels for line in words.split("|")]
    assert sorted(found.want["rules"].splitlines()) == sorted(lines)
    assert _read(found.xml) == found.want["rules"]


STATE = "{allow: in, proto: tcp, port: [22, 80]}, {reject: in, proto: udp}, {deny: in}"


def verdict(rule: str, source: str, address: str, port: int, proto: Literal["tcp", "udp"] = "tcp") -> str:
    found = reach(lab(rule), Connection(source, ip_address(address), port, proto))
    assert found is not None
    return "open" if found.passes else "refused" if found.is_rejected else "filtered"


@pytest.mark.parametrize("address", ["10.0.1.10", "fd00:1::10"])
def test_the_first_rule_that_matches_decides_and_answers_pass(address: str) -> None:
    assert verdict(STATE, "b", address, 80) == "open"
    assert verdict(STATE, "b", address, 81) == "filtered"
    assert verdict(STATE, "b", address, 53, "udp") == "refused"
    # Its own connections have their answers, though everything in is denied.
    other = address[:-1] + "1"
    assert verdict(STATE, "a", other, 81) == "open"
    assert verdict(STATE, "a", other, 53, "udp") == "open"
    assert verdict("{deny: in}", "a", other, 81) == "filtered"
    # An allow before the others excepts one host.
    excepted = "{allow: in, from: b}, {deny: in, proto: tcp, port: 1-1024}"
    assert (verdict(excepted, "b", address, 80), verdict(excepted, "c", address, 80)) == ("open", "filtered")
    assert verdict(excepted, "c", address, 1025) == "open"


def test_paths_follow_rules_of_echo_and_of_addresses() -> None:
    found = expectations(lab("{allow: in, proto: tcp}, {deny: in}"))
    why = "hypervisor: the filter it drops it at a's NIC on lan"
    assert (str(found.path("b", "a").fault), found.path("a", "b").fault) == (why, None)
    one = expectations(lab("{reject: in, proto: icmp, from: b}"))
    assert str(one.path("b", "a").fault) == why.replace("drops", "rejects")
    assert one.path("c", "a").fault is None


def test_each_rule_that_a_pair_of_hosts_meets_is_tried() -> None:
    of = lab(
        "{allow: in, proto: tcp, port: [22, 80-90], from: b}, {reject: out, proto: udp, port: 53, to: c},"
        "{deny: inout, proto: tcp, port: 79, log: true}, {deny: in, from: 192.0.2.1}"
    )
    found = {
        trial.name: trial.check.expect
        for host in of.hosts
        for trial in instances_of(of, host)
        if "IPv6" not in trial.name
    }
    assert found == {
        "b -> a tcp/22": "accepted",
        "b -> a tcp/80": "accepted",
        "a -> c udp/53": "refused",
        "b -> a tcp/79": "filtered",
        "a -> b tcp/79": "filtered",
    }


def test_an_allow_that_nothing_after_it_refuses_is_named() -> None:
    found = lab("{allow: in, proto: tcp, port: 80}, {allow: out}, {deny: in}")
    assert [str(notice) for notice in found.notices] == [
        "filters.it[1] has no effect: no later rule refuses any of it"
    ]
