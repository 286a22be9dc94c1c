"""What a profile can hold, on a real NetworkManager: set, found as set, taken back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

_APART = "10.62.24.11/24,172.30.0.1/32,172.31.0.1/24"
_ODD_6 = 'ipv6.addresses: "fd00:62:24::11/64,fd50::1/128", ipv6.gateway: "fd00:62:24::1"'
_ODD = "10.7.0.0/16 type=blackhole, 0.0.0.0/0 10.62.24.9 500"
_TABLE = '"9.0.0.0/8 10.62.24.1 table=9"'
LAB = """\
name: res-nm
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  left: {mode: isolated, cidr: 10.62.24.0/24, cidr6: "fd00:62:24::/64"}
hosts:
  one: {networks: {left: {ipv4: 10.62.24.11, ipv6: "fd00:62:24::11"MORE}}}
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """One host with both versions, up and configured; every test leaves it so."""
    lab = write_lab(tmp_path_factory.mktemp("nmcli"), LAB.replace("MORE", ""))
    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        yield lab
    finally:
        lab.run("-y", "down")


def with_properties(lab: RunningLab, properties: str) -> RunningLab:
    path = lab.path.with_name("other.yaml")
    path.write_text(LAB.replace("MORE", f", nmcli: {{{properties}}}"), encoding="utf-8")
    return RunningLab(path, lab.state)


def settles(lab: RunningLab) -> list[str]:
    """Configure the NICs twice; the status of each time."""
    found = []
    for _ in range(2):
        answer = lab.json("configure", "--only", "nmcli")
        assert not answer.bad(), answer.trouble()
        (row,) = answer.rows
        found.append(row["status"])
    return found


_FIELDS = "connection.zone,connection.lldp,ipv4.may-fail,ipv6.ip6-privacy"
_TWO = "10.62.24.11/24, 10.62.24.50/24"


# What is given, where it is asked for, and what must be seen there.
_PROPERTIES = [
    (
        f'ipv4.addresses: "{_TWO}", ipv6.addresses: "fd00:62:24::11/64,fd00:62:24::50/64"',
        "ip -br address show eth0",
        ["10.62.24.11/24 10.62.24.50/24 ", "fd00:62:24::50/64"],
    ),
    # The second becomes the first: reapply alone would lose one of them.
    (
        'ipv4.addresses: "10.62.24.50/24,10.62.24.11/24"',
        "ip -br address show eth0",
        ["10.62.24.50/24 10.62.24.11/24 "],
    ),
    (
        'ipv4.routes: "10.99.0.0/16 10.62.24.1 300, 10.98.0.0/16 10.62.24.1 src=10.62.24.11"',
        "ip route",
        [
            "10.99.0.0/16 via 10.62.24.1 dev eth0 proto static metric 300",
            "10.98.0.0/16 via 10.62.24.1 dev eth0 proto static src 10.62.24.11",
        ],
    ),
    (
        'ipv6.routes: "fd99::/64 fd00:62:24::1 400"',
        "ip -6 route",
        ["fd99::/64 via fd00:62:24::1 dev eth0 proto static metric 400"],
    ),
    (
        f'ipv4.routes: {_TABLE}, ipv4.routing-rules: "priority 9 to 9.9.9.9 table 9"',
        "ip rule; ip route show table 9",
        ["to 9.9.9.9 lookup 9", "9.0.0.0/8 via 10.62.24.1"],
    ),
    (
        'ipv4.gateway: 10.62.24.1, ipv4.never-default: "no", ipv4.route-metric: 50',
        "ip route",
        ["default via 10.62.24.1 dev eth0 proto static metric 50"],
    ),
    (
        'ipv4.dns: "10.62.24.1 10.62.24.9", ipv4.dns-search: "a.test, b.test", ipv4.dns-options: rotate',
        "cat /etc/resolv.conf",
        ["search a.test b.test\nnameserver 10.62.24.1\nnameserver 10.62.24.9\noptions rotate"],
    ),
    ("802-3-ethernet.mtu: 1400", "ip link show eth0", ["mtu 1400"]),
    (
        "ethernet.mtu: auto, connection.zone: trusted, connection.autoconnect: yes, ipv4.may-fail: no",
        f"nmcli --terse --fields {_FIELDS} connection show labrun-left",
        ["connection.zone:trusted", "ipv4.may-fail:no"],
    ),
    (
        "connection.lldp: enable-rx, ipv6.ip6-privacy: 2, ethernet.wake-on-lan: magic",
        f"nmcli --terse --fields {_FIELDS} connection show labrun-left",
        ["connection.lldp:enable-rx", "ip6-privacy:2"],
    ),
    ("ipv4.method: auto", "ip -br -4 address show eth0", ["10.62.24.11/24"]),
    (
        f'ipv4.addresses: "{_APART}", ipv4.routes: "{_ODD}", {_ODD_6}',
        "ip route; ip -6 route",
        [
            "blackhole 10.7.0.0/16",
            "default via 10.62.24.9",
            "fd50::1 dev eth0",
            "default via fd00:62:24::1",
        ],
    ),
]
_NAMES = "addresses order routes routes6 table gateway dns mtu spellings words dhcp odd".split()  # noqa: SIM905
# Each of these has another of its kind among the others.
_FURTHER = ("routes6", "table", "mtu", "words", "dhcp", "order", "spellings", "gateway", "odd", "routes")


@pytest.mark.parametrize(
    ("properties", "asked", "shown"),
    [
        pytest.param(*each, id=name, marks=pytest.mark.full if name in _FURTHER else ())
        for name, each in zip(_NAMES, _PROPERTIES, strict=True)
    ],
)
def test_a_property_is_in_force_is_found_so_and_goes_again(
    lab: RunningLab, properties: str, asked: str, shown: list[str]
) -> None:
    changed = with_properties(lab, properties)
    assert settles(changed) == ["changed", "ok"]
    # `up` keeps the addresses that the properties add from other guests, else `drift` finds this missing.
    for verb in ("verify", "up", "drift") if properties.endswith(_ODD_6) else ("verify",):
        answer = changed.json(verb)
        assert answer.exit_code == 0, answer.trouble()
    seen = lab.guest("one", asked)
    for text in shown:
        assert text in seen
    assert settles(lab) == ["changed", "ok"]


_CHOOSING = (
    'ipv4.gateway: 10.62.24.1, ipv4.never-default: "no", ipv4.route-metric: 50, ipv4.dns-search: "a.test",'
    ' ipv4.routing-rules: "priority 9 from 9.9.9.9 table 9", ipv4.routes: "10.99.0.0/16 10.62.24.1 300",'
    ' ipv6.routes: "fd99::/64 fd00:62:24::1 400", ipv6.routing-rules: "priority 9 to fd99::/64 table 9"'
)


_SIX = "fd99::/64 via fd00:62:24::1"
_BY_HAND = {
    "ip route del default metric 50; ip route add default via 10.62.24.1 metric 10": (
        "-route default via 10.62.24.1 metric 10",
        "+route default via 10.62.24.1 metric 50",
    ),
    f"ip -6 route del {_SIX} metric 400; ip -6 route add {_SIX} dev eth0 metric 40": (
        f"-route {_SIX} metric 40",
        f"+route {_SIX} metric 400",
    ),
    "ip rule del priority 9": ("+ip rule priority 9 from 9.9.9.9 table 9",),
    "ip -6 rule del priority 9": ("+ip rule priority 9 to fd99::/64 table 9",),
    "nmcli device modify eth0 ipv4.dns-search x.test >/dev/null": (
        "-eth0: search x.test",
        "+eth0: search a.test",
    ),
    "echo nameserver 9.9.9.9 >/etc/resolv.conf": (
        "-/etc/resolv.conf: nameserver 9.9.9.9",
        "+/etc/resolv.conf: nameserver 10.62.24.1",
    ),
    "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1": (
        "-net.ipv6.conf.eth0.disable_ipv6: 1",
        "+net.ipv6.conf.eth0.disable_ipv6: 0",
    ),
}
# NetworkManager writes resolv.conf again for a search domain, and routes go with IPv6: not at once.
_AT_ONCE = [each for each in _BY_HAND if "modify" not in each and "sysctl" not in each]


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(_AT_ONCE, id="at once"),
        *(pytest.param([each], id=each.split(";")[0], marks=pytest.mark.full) for each in _BY_HAND),
    ],
)
def test_what_somebody_changes_of_a_profile_s_choices_is_named_and_put_back(
    lab: RunningLab, commands: list[str]
) -> None:
    changed = with_properties(lab, _CHOOSING)
    answer = changed.json("configure", "--only", "nmcli")
    assert answer.exit_code == 0, answer.trouble()
    # `up` keeps from other guests what the file gives this one, and forgets what an earlier file gave it.
    for verb in ("up", "verify", "drift"):
        answer = changed.json(verb)
        assert answer.exit_code == 0, answer.trouble()
    lab.guest("one", "; ".join(commands))
    lines = [line for each in commands for line in _BY_HAND[each]]
    (row,) = changed.json("verify").of("nmcli", "one", "left")
    assert row["status"] == "failed", row
    assert all(line[1:] in row["why"] for line in lines if line.startswith("+")), row
    (row,) = changed.json("drift").of("nmcli", "one", "left")
    assert row["status"] == "drifted", row
    assert set(lines) <= set(row["diff"].splitlines()), row
    assert row["why"].startswith("it should have "), row
    fixed = changed.json("drift", "--fix")
    assert fixed.exit_code == 0, fixed.trouble()
    assert changed.json("configure", "--only", "nmcli").statuses() == {"ok"}
    assert not lab.json("configure", "--only", "nmcli").bad()


def test_what_nmcli_does_not_take_is_refused_in_its_words(lab: RunningLab) -> None:
    answer = with_properties(lab, "ipv6.method: link-local").json("configure", "--only", "nmcli")
    (row,) = answer.rows
    assert (answer.exit_code, row["status"]) == (1, "failed")
    assert row["why"].startswith("nmcli refuses the properties: Error: "), row["why"]
    assert "ipv6.addresses" in row["why"]
    assert settles(lab) == ["ok", "ok"]
