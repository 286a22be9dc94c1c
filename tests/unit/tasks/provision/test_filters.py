"""Filters of the hypervisor: their XML and back, plans, and what paths and connections they leave."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from ipaddress import ip_address

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.inventory.topology.checks import instances_of
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.reach import Connection, reach
from labrun.inventory.traffic import Filter, FilterRule
from labrun.tasks.provision.domains import nic_xml, nics_of, nics_text
from labrun.tasks.provision.driver import NicSpec
from labrun.tasks.provision.filters import filter_spec, plan_filter
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
    found = spec(FilterRule("out", "tcp", 80))
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
    # A container's NIC needs a name for a filter, at most 15 characters long.
    device = f"lr{nic.mac.replace(':', '')}"
    assert f'<target dev="{device}"/>' in container
    assert len(device) <= 15
    assert "<target" not in machine
    for xml in (container, machine):
        back = nics_of(f"<domain><devices>{xml}</devices></domain>")
        assert nics_text(back) == nics_text((nic,)) == f"{nic.mac}@small-lan+small-it"
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


def test_each_tcp_rule_has_a_check() -> None:
    of = lab("{deny: out, proto: tcp, port: 80}, {deny: in, proto: tcp, port: 23}, {deny: in, proto: udp}")
    names = [trial.name for host in of.hosts for trial in instances_of(of, host)]
    assert names == [
        "a -> b tcp/80",
        "a -> b tcp/80 (IPv6)",
        "b -> a tcp/23",
        "b -> a tcp/23 (IPv6)",
    ]
