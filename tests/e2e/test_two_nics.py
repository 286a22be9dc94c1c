"""Two NICs of a host on one network, on real containers: each receives for itself, and each is seen alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import running_lab
from tests.e2e.test_links import WITHIN, pings
from tests.labs import RunningLab

LAB = """\
name: e2e-twins
hypervisor: lxc:///system
networks:
  left: {mode: isolated, cidr: 10.214.1.0/24, cidr6: "fd74:1::/64"}
hosts:
  h:
    networks:
      left: {ipv4: 10.214.1.11, ipv6: "fd74:1::11"}
      left2: {network: left, ipv4: 10.214.1.12, ipv6: "fd74:1::12"}
      left3: {network: left, ipv4: dhcp}
  w: {networks: {left: {ipv4: 10.214.1.13, ipv6: "fd74:1::13"}}}
"""
NICS = ["left", "left2", "left3"]


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    yield from running_lab(tmp_path_factory.mktemp("twins"), LAB, "--configure")


def test_all_of_it_is_as_declared_and_a_second_run_changes_nothing(lab: RunningLab) -> None:
    again = lab.json("configure")
    assert again.statuses() == {"ok"}, again.trouble()
    assert [row["name"] for row in again.of("nmcli", "h")] == NICS
    seen = lab.json("verify")
    assert seen.statuses() == {"ok"}, seen.trouble()
    assert [row["name"] for row in seen.of("address", "h")] == NICS
    assert lab.json("plan").statuses() == {"ok"}
    routes = lab.guest("h", "ip -4 route show 10.214.1.0/24; ip -6 route show fd74:1::/64")
    assert re.findall(r"dev (\S+) .*metric (\d+)", routes) == [
        *(("eth0", "100"), ("eth1", "200"), ("eth2", "300")),
        *(("eth0", "100"), ("eth1", "200")),
    ]
    hosts = lab.json("status").document["hosts"]
    (h,) = (each for each in hosts if each["name"] == "h")
    assert list(h["addresses"]) == NICS


def test_what_is_sent_to_an_address_comes_by_its_own_nic(lab: RunningLab) -> None:
    # Whom the other host took an address to be at, before `configure` had set arp_ignore.
    lab.guest("w", "ip neigh flush all")
    for kind, address in (("icmp", "10.214.1.12"), ("icmp6", "fd74:1::12")):
        with pings(lab, "w", address):
            asked = lab.json(*WITHIN, "capture", "h", "-c", "4", kind, "and", "dst", "host", address)
            answered = lab.json(*WITHIN, "capture", "h:left", "-c", "3", kind, "and", "src", "host", address)
        # Of all its NICs.
        seen = {row["name"]: row["actual"] for row in asked.of("capture", "h")}
        assert seen == {"left": "0 packets", "left2": "4 packets", "left3": "0 packets"}
        assert [row["actual"] for row in answered.of("capture", "h", "left")] == ["3 packets"]


def test_a_link_is_made_slow_at_one_of_them(lab: RunningLab) -> None:
    made = lab.json("tc", "h:left2", "rate", "1mbit")
    assert [(row["name"], row["status"]) for row in made.rows] == [("left2", "changed")]
    assert lab.json("tc", "h:left2", "rate", "1mbit").statuses() == {"ok"}
    try:
        shown = {row["name"]: row["actual"] for row in lab.json("tc", "h").rows}
        assert shown == {"left": "none", "left2": "rate 1mbit", "left3": "none"}
        (warned,) = lab.json("verify").of("tc", "h")
        assert (warned["name"], warned["why"]) == ("left2", "`labrun tc h:left2 --clear` removes it")
    finally:
        lab.json("tc", "h:left2", "--clear")
    other = lab.run("tc", "h:left4", "rate", "1mbit")
    assert other.exit_code == 2
    assert other.stderr.startswith('error: h:left4: h has no NIC on "left4"\n')


@pytest.mark.full
def test_drift_sees_that_the_second_lost_its_address_and_mends_it(lab: RunningLab) -> None:
    lab.guest("h", "ip address del 10.214.1.12/24 dev eth1")
    found = lab.json("drift")
    assert found.exit_code == 3
    assert {
        (row["section"], row["name"], row["why"]) for row in found.bad() if row["section"] != "nmcli"
    } == {
        ("address", "left2", "eth1 does not have it"),
        ("route", "10.214.1.0/24", "without connected on left2"),
    }
    assert [row["name"] for row in found.bad() if row["section"] == "nmcli"] == ["left2"]
    mended = lab.json("-y", "drift", "--fix")
    assert mended.exit_code == 0, mended.trouble()
    assert lab.json("verify").statuses() == {"ok"}
