"""The text of labrun's nftables table: golden, and whatever names a lab has."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.inventory.model import Lab
from labrun.inventory.traffic import Firewall, FirewallRule, Forward, Nat
from labrun.tasks.configure.nft_text import definition, replacement, ssh_line
from tests import places
from tests.fuzz import examples
from tests.unit.small_labs import host, lab, network

CASES = places.RECORDED / "nft"


def dmz(names: tuple[str, ...] = ("outer", "dmz", "inner", "web")) -> Lab:
    outer, middle, inner, web = names
    allow = (
        FirewallRule("udp", ((53, 53),), inner),
        FirewallRule("tcp", ((443, 443), (80, 80), (8005, 8020), (8000, 8010)), inner, web),
        FirewallRule("icmp"),
        FirewallRule("tcp", (), None, middle),
    )
    forward = (Forward(outer, 80, web, 8080), Forward(middle, 53, "10.2.0.80", 53, "udp"))
    gate = host(
        "fw",
        {
            outer: "10.1.0.254/24 fd00:1::254/64",
            middle: "10.2.0.254/24 fd00:2::254/64",
            inner: "10.3.0.254/24",
        },
        "router",
    )
    gate = replace(gate, firewall=Firewall("drop", "drop", True, allow), nat=Nat((inner, middle), forward))
    return lab(
        [
            network(outer, "10.1.0.0/24", cidr6="fd00:1::/64"),
            network(middle, "10.2.0.0/24", cidr6="fd00:2::/64"),
            network(inner, "10.3.0.0/24"),
        ],
        [gate, host(web, {middle: "10.2.0.80/24 fd00:2::80/64"})],
    )


def of(lab: Lab, name: str = "fw") -> str:
    return definition(lab, lab.hosts[name])


def test_a_dmz_s_firewall() -> None:
    assert of(dmz()) == (CASES / "dmz.nft").read_text(encoding="utf-8")


def test_the_file_replaces_the_table_in_one_transaction() -> None:
    assert ssh_line([2222, 22]) + replacement("table inet labrun {\n}\n") == (
        "define labrun_ssh = { 22, 2222 }\n"
        "table inet labrun\ndelete table inet labrun\ntable inet labrun {\n}\n"
    )


def test_a_host_that_asks_for_nothing_has_no_table() -> None:
    assert of(dmz(), "web") == ""


def with_firewall(firewall: Firewall | None, nat: Nat | None = None, **nic: object) -> str:
    one = host("fw", {"outer": "10.1.0.254/24"}, "router")
    nics = tuple(replace(each, **nic) for each in one.interfaces)  # type: ignore[arg-type]
    one = replace(one, firewall=firewall, nat=nat, interfaces=nics)
    return of(lab([network("outer", "10.1.0.0/24")], [one, host("web", {"outer": "10.1.0.80/24"})]))


def test_accept_drops_nothing_and_counts_nothing() -> None:
    text = with_firewall(Firewall())
    assert "policy accept" in text
    assert "drop" not in text


def test_ssh_false_closes_sshd_s_ports() -> None:
    assert "labrun_ssh" not in with_firewall(Firewall("drop", "drop", ssh=False))


def test_a_dhcp_nic_may_get_its_answers() -> None:
    rule = "udp sport 67 udp dport 68 accept"
    assert rule in with_firewall(Firewall("drop"), dhcp=True)
    assert rule not in with_firewall(Firewall("drop"))


def test_only_nat_has_no_filter_chain() -> None:
    text = with_firewall(None, Nat(("outer",)))
    assert re.findall("chain (\\w+)", text) == ["prerouting", "postrouting"]
    assert "\t\tip saddr 10.1.0.0/24 ip daddr != 10.1.0.0/24 masquerade\n" in text


def test_a_nic_whose_address_nobody_knows_is_told_by_its_mac() -> None:
    text = with_firewall(
        None, Nat((), (Forward("outer", 80, "web", 80),)), ipv4=None, dhcp=True, mac="02:00:00:00:00:01"
    )
    there = "ether daddr 02:00:00:00:00:01 meta nfproto ipv4 fib daddr type local"
    rule = f"{there} tcp dport 80 dnat ip to 10.1.0.80:80"
    assert f'\t\t{rule} comment "tcp/80 on outer to web:80"\n' in text


def bare(text: str) -> str:
    return re.sub(r' comment "[^"\n]{1,120}"$', "", text, flags=re.MULTILINE)


NAMES = st.lists(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=200), min_size=4, max_size=4, unique=True
)


@settings(max_examples=examples(200))
@given(NAMES)
def test_no_name_gets_out_of_its_comment(names: list[str]) -> None:
    # Were a name to end its comment or its line, something of it would be left beside the rules.
    assert bare(of(dmz(tuple(names)))) == bare(of(dmz()))


PORTS = st.lists(st.tuples(st.integers(1, 65535), st.integers(0, 40)), min_size=1, max_size=12)


@settings(max_examples=examples(200))
@given(PORTS)
def test_ports_of_a_set_never_overlap_and_none_is_lost(drawn: list[tuple[int, int]]) -> None:
    ranges = tuple((low, min(low + more, 65535)) for low, more in drawn)
    text = with_firewall(Firewall("drop", allow=(FirewallRule("tcp", ranges),)))
    found = re.search(r"\t\ttcp dport (?!\$)(\{.*?\}|\S+) accept", text)
    assert found
    listed = [
        tuple(map(int, word.partition("-")[::2])) if "-" in word else (int(word), int(word))
        for word in re.findall(r"[\d-]+", found[1])
    ]
    assert all(one[1] + 1 < other[0] for one, other in pairwise(listed))
    assert {p for low, high in listed for p in range(low, high + 1)} == {
        p for low, high in ranges for p in range(low, high + 1)
    }


def test_masquerading_everything_is_one_rule_that_leaves_the_router_s_own_packets_alone() -> None:
    found = dmz()
    gate = replace(found.hosts["fw"], nat=Nat((), found.hosts["fw"].nat.forward, masquerade_all=True))  # type: ignore[union-attr]
    text = of(replace(found, hosts={**found.hosts, "fw": gate}))
    rules = text.partition("chain postrouting")[2].splitlines()
    assert [rule.strip() for rule in rules if "masquerade" in rule] == [
        'fib saddr type != local masquerade comment "everything forwarded"'
    ]
    assert "dnat ip to 10.2.0.80:8080" in text
