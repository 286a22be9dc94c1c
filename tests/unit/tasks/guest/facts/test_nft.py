"""nftables as text: which rule drops which packet, by counters and by what it says."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from labrun.tasks.guest.deadline import Pace, paced
from labrun.tasks.guest.facts.nft import read_ruleset, suspects
from labrun.tasks.guest.facts.nft_rules import Packet

PROBE = Packet(ip_address("10.1.0.11"), ip_address("10.2.0.11"), "eth0", "eth1")


def ruleset(*rules: str, policy: str = "accept", more: str = "") -> str:
    lines = "".join(f"\t\t{rule} # handle {number}\n" for number, rule in enumerate(rules, 4))
    return (
        "table inet demo { # handle 1\n"
        f"{more}"
        "\tchain forw { # handle 2\n"
        f"\t\ttype filter hook forward priority filter; policy {policy};\n"
        f"{lines}\t}}\n}}\n"
    )


def found(after: str, before: str = "", packet: Packet = PROBE) -> list[tuple[str, bool]]:
    looks = read_ruleset(before), read_ruleset(after)
    return [(each.text, each.sure) for each in suspects(*looks, packet, ("forward",), ("ip", "inet"))]


@pytest.mark.parametrize(
    "rule",
    [
        "drop",
        "ip daddr 10.2.0.11 drop",
        "ip saddr 10.1.0.0/24 ip daddr 10.2.0.0/24 drop",
        "ip daddr { 10.9.0.1, 10.2.0.10-10.2.0.20 } reject with icmp admin-prohibited",
        "ip saddr != 10.9.0.0/16 drop",
        'iifname "eth0" oifname "eth1" drop comment "not that way"',
        'log prefix "no " level info drop',
    ],
)
def test_a_rule_that_certainly_drops(rule: str) -> None:
    assert found(ruleset(rule)) == [(f"inet demo, chain forw: {rule}", True)]


@pytest.mark.parametrize(
    "rule",
    [
        "ip daddr 10.2.0.12 drop",
        "ip saddr != 10.1.0.0/24 drop",
        "ip6 daddr fd00::1 drop",
        'iifname "eth1" drop',
        "tcp dport 22 drop",
        "ip protocol tcp drop",
        "meta l4proto ipv6-icmp drop",
        "icmpv6 type echo-request drop",
        "ip length > 1300 drop",
        "ip daddr 10.2.0.11 accept",
    ],
)
def test_a_rule_that_is_not_it(rule: str) -> None:
    assert found(ruleset(rule)) == []


@pytest.mark.parametrize(
    "rule", ["ct state invalid drop", "ip daddr @blocked drop", "udp dport 33434-33534 drop"]
)
def test_a_rule_that_may_be_it(rule: str) -> None:
    assert found(ruleset(rule)) == [(f"inet demo, chain forw: {rule}", False)]


@pytest.mark.parametrize(
    ("rule", "sure"),
    [
        ("ip6 daddr fd00:2::/64 drop", True),
        ("meta l4proto { ipv6-icmp, udp } drop", True),
        ("meta l4proto ipv6-icmp drop", False),
        ("icmpv6 type echo-request drop", False),
        ("meta l4proto icmp drop", None),
        ("icmp type echo-request drop", None),
    ],
)
def test_a_probe_of_ipv6(rule: str, sure: bool | None) -> None:
    probe = Packet(ip_address("fd00:1::11"), ip_address("fd00:2::11"), "eth0", "eth1")
    expected = [] if sure is None else [(f"inet demo, chain forw: {rule}", sure)]
    assert found(ruleset(rule), packet=probe) == expected


def test_only_large_packets_fit_a_rule_on_length() -> None:
    large = Packet(PROBE.source, PROBE.target, "eth0", "eth1", 1500)
    assert found(ruleset("ip length > 1300 drop"), packet=large) == [
        ("inet demo, chain forw: ip length > 1300 drop", True)
    ]


def test_what_counted_is_named_and_what_did_not_is_less_certain() -> None:
    rule = "ip daddr 10.2.0.11 counter packets {} bytes 9 drop"
    assert found(ruleset(rule.format(7)), ruleset(rule.format(3))) == [
        ("inet demo, chain forw: ip daddr 10.2.0.11 drop (4 packets meanwhile)", True)
    ]
    assert found(ruleset(rule.format(7)), ruleset(rule.format(7))) == [
        ("inet demo, chain forw: ip daddr 10.2.0.11 drop (7 packets before)", True)
    ]
    assert found(ruleset(rule.format(0)), ruleset(rule.format(0))) == [
        ("inet demo, chain forw: ip daddr 10.2.0.11 drop (nothing counted yet)", False)
    ]
    assert found(ruleset("ct state invalid counter packets 0 bytes 0 drop")) == []


def test_a_counter_with_a_name_is_named() -> None:
    def counter(packets: int) -> str:
        return f"\tcounter lost {{ # handle 9\n\t\tpackets {packets} bytes 99\n\t}}\n"

    text = 'counter name "lost" drop'
    assert found(ruleset(text, more=counter(5)), ruleset(text, more=counter(0))) == [
        ('inet demo, chain forw: drop (counter "lost": 5 packets meanwhile)', True)
    ]


def test_order_decides() -> None:
    assert found(ruleset("ip saddr 10.1.0.11 accept", "drop")) == []
    assert found(ruleset("ct state established accept", "drop")) == [("inet demo, chain forw: drop", False)]


def test_a_policy_drops_what_no_rule_accepts() -> None:
    assert found(ruleset("tcp dport 22 accept", policy="drop")) == [
        ("inet demo, chain forw: policy drop", True)
    ]
    assert found(ruleset("ip daddr 10.2.0.0/24 accept", policy="drop")) == []


def test_a_chain_that_is_jumped_to() -> None:
    other = "\tchain other { # handle 8\n\t\tip daddr 10.2.0.11 drop # handle 9\n\t}\n"
    text = ruleset("ip saddr 10.1.0.11 jump other", more=other)
    assert found(text) == [("inet demo, chain other: ip daddr 10.2.0.11 drop", True)]
    assert found(ruleset("ip saddr 10.9.0.11 jump other", more=other)) == []


DIAL = Packet(ip_address("10.1.0.11"), ip_address("10.2.0.11"), "eth0", "eth1", port=443)


@pytest.mark.parametrize(
    ("rule", "sure"),
    [
        ("tcp dport 443 drop", True),
        ("tcp dport { 80, 400-500 } drop", True),
        ("meta l4proto tcp drop", True),
        ("meta l4proto 6 ip daddr 10.2.0.11 drop", True),
        ("ct state new tcp dport 443 drop", True),
        ("tcp dport != 22 reject with tcp reset", True),
        ("tcp dport @ports drop", True),
        ("tcp dport { 22, 899999999999999999999999999-90 } drop", False),
        ("tcp dport { 443, 899999999999999999999999999-90 } drop", True),
        ("tcp flags syn drop", False),
        ("ct mark 0x00000001 drop", False),
    ],
)
def test_a_rule_that_drops_a_connection(rule: str, sure: bool) -> None:
    assert found(ruleset(rule), packet=DIAL) == [(f"inet demo, chain forw: {rule}", sure)]


@pytest.mark.parametrize(
    "rule",
    [
        "tcp dport 80 drop",
        "tcp dport != 443 drop",
        "tcp dport != { 443, 899999999999999999999999999-90 } drop",
        "udp dport 443 drop",
        "meta l4proto udp drop",
        "icmp type echo-request drop",
        "ct state established,related drop",
        "ct state != new drop",
    ],
)
def test_a_rule_that_is_not_about_this_connection(rule: str) -> None:
    assert found(ruleset(rule), packet=DIAL) == []


def test_a_policy_drops_a_connection_that_no_rule_accepts() -> None:
    text = ruleset("ct state established,related accept", "icmp type echo-request accept", policy="drop")
    assert found(text, packet=DIAL) == [("inet demo, chain forw: policy drop", True)]
    assert found(ruleset("tcp dport 443 accept", policy="drop"), packet=DIAL) == []


def test_what_a_rule_certainly_drops_gets_to_no_rule_after_it() -> None:
    text = ruleset("tcp dport 443 counter packets 0 bytes 0 drop", "counter packets 7 bytes 420 drop")
    assert found(text, packet=DIAL) == [
        ("inet demo, chain forw: tcp dport 443 drop (nothing counted yet)", False)
    ]
    # Which of two may be it is left open.
    text = ruleset("ct mark 0x00000001 drop", "counter packets 7 bytes 420 drop")
    assert len(found(text, packet=DIAL)) == 2


def chains(levels: int, jumps: int, last: str = "drop", jump: str = "jump") -> str:
    """Return a ruleset in which there are ``jumps`` ways from each chain to the next."""
    parts = []
    for level in range(levels):
        body = f"{jump} c{level + 1}" if level < levels - 1 else last
        count = jumps if level < levels - 1 else 1
        lines = "".join(f"\t\t{body} # handle {number}\n" for number in range(count))
        head = "\t\ttype filter hook forward priority filter; policy accept;\n" if level == 0 else ""
        parts.append(f"\tchain c{level} {{ # handle {level}\n{head}{lines}\t}}\n")
    return "table inet demo { # handle 1\n" + "".join(parts) + "}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 12^8 ways; a packet that TCP is asked of may or may not go any of them.
        (chains(9, 12, "ip daddr 10.2.0.11 drop"), [("inet demo, chain c8: ip daddr 10.2.0.11 drop", True)]),
        (chains(17, 12, "ip daddr 10.9.0.1 drop"), []),
        (
            chains(9, 12, "drop", "ct mark 1 jump"),
            [("inet demo, chain c8: drop", False)],
        ),
        # Round and round: no kernel takes it, a guest may print it.
        (chains(3, 12, "jump c1"), []),
        (chains(1, 1, "jump c0"), []),
        # Deeper than any jump goes.
        (chains(4000, 2), []),
    ],
)
def test_there_may_be_any_number_of_ways_through_a_ruleset(
    text: str, expected: list[tuple[str, bool]]
) -> None:
    began = time.process_time()
    assert found(text) == expected
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "rule",
    [
        "ip daddr { " * 20_000,
        "iifname { " * 20_000,
        'comment "' * 20_000,
        'log prefix "' * 20_000,
        "tcp dport { " * 20_000,
        "ip saddr 10.0.0.1-" + "9" * 100_000,
        "ip length > " + "9" * 5000 + " drop",
        "tcp dport " + "9" * 5000 + " drop",
        "counter packets " + "9" * 5000 + " bytes 0 drop",
        "type filter hook forward " + "policy " * 20_000,
        "{" * 100_000,
        " " * 100_000,
    ],
    ids=lambda rule: rule[:20],
)
def test_a_rule_without_end_takes_no_time(rule: str) -> None:
    began = time.process_time()
    found(ruleset(rule, f"{rule} drop"))
    found(ruleset(rule, f"{rule} drop"), packet=replace(PROBE, port=80))
    assert time.process_time() - began < 2


def test_a_ruleset_that_is_too_large_is_no_evidence() -> None:
    rule = "ip daddr 10.2.0.11 drop"
    assert len(found(ruleset(*[f'{rule} comment "{n}"' for n in range(300)]))) == 1
    assert read_ruleset(ruleset(*[rule] * 20_001)) == {}
    deep = "".join(
        f"\tchain d{level} {{ # handle 9{level}\n"
        + "".join(f"\t\tct mark {n} jump d{n % 16} # handle {n}\n" for n in range(1200))
        + "\t}\n"
        for level in range(16)
    )
    began = time.process_time()
    assert not any(sure for _, sure in found(ruleset("jump d0", "drop", more=deep)))
    assert time.process_time() - began < 3


def test_no_time_left_leaves_nothing_certain() -> None:
    with paced(Pace(time.process_time() - 1)):
        assert found(ruleset("drop", policy="drop")) == [("inet demo, chain forw: policy drop", False)]


def test_a_verdict_behind_a_jump_is_as_sure_as_the_way_there() -> None:
    more = (
        "\tchain sub { # handle 8\n\t\tip daddr 10.2.0.11 drop # handle 81\n\t}\n"
        "\tchain let { # handle 9\n\t\taccept # handle 91\n\t}\n"
    )
    drop = "inet demo, chain sub: ip daddr 10.2.0.11 drop"
    assert found(ruleset("jump sub", more=more)) == [(drop, True)]
    assert found(ruleset("return", "jump sub", more=more)) == [(drop, False)]
    assert found(ruleset("ct mark 1 jump sub", "jump sub", more=more)) == [(drop, False)]
    assert found(ruleset("ct mark 1 jump let", "jump sub", more=more)) == [(drop, False)]
    assert found(ruleset("jump let", "jump sub", more=more)) == []
    assert found(ruleset("ct mark 1 jump sub", more=more)) == [(drop, False)]
