"""A NIC's addresses: none, one or several, on links of two, and next hops that only the link knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.routing import route_table
from labrun.key_pairs import HostKey
from labrun.tasks.configure.nm_profiles import desired_profiles
from labrun.tasks.provision.cloudinit import seed_for

TEXT = """\
name: lab
routing: manual
networks:
  left: {cidr: 10.1.0.0/24, cidr6: "fd00:1::/64"}
  bare: {cidr: 10.3.0.0/24}
  link: {mode: very-isolated, cidr: 10.2.0.0/31, cidr6: "fd00:2::/127"}
hosts:
  r:
    role: router
    networks:
      left: {ipv4: [10.1.0.1, 10.1.0.2], ipv6: ["fd00:1::1", "fd00:1::2"], mac: "02:00:00:00:00:01"}
      link: {ipv4: 10.2.0.0, ipv6: "fd00:2::", mac: "02:00:00:00:00:02"}
    routes: [{to: "fd00:9::/64", via: "fe80::ff:fe00:3"}]
  s:
    role: router
    networks: {link: {ipv4: 10.2.0.1, ipv6: "fd00:2::1", mac: "02:00:00:00:00:03"}, bare: none}
    routes: [{to: "fd00:1::/64", via: "fe80::ff:fe00:2%link"}, {to: 10.1.0.0/24, via: r}]
  a: {networks: {bare: {}, left: {mac: "02:00:00:00:00:09"}}}
  b: {networks: {left: {ipv4: 10.1.0.7, ipv6: "fd00:1::7"}}, gateway: "fe80::ff:fe00:1"}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return load_lab(path)


def test_several_addresses_are_wanted_of_a_nic_and_the_first_is_the_main_one(lab: Lab) -> None:
    nic = lab.hosts["r"].interfaces[0]
    assert (str(nic.ipv4), str(nic.ipv6)) == ("10.1.0.1/24", "fd00:1::1/64")
    every = ["10.1.0.1/24", "10.1.0.2/24", "fd00:1::1/64", "fd00:1::2/64"]
    assert [str(each) for each in nic.addresses] == every
    assert [str(each) for each in expectations(lab).addresses["r"]["left"]] == every
    profile = desired_profiles(lab, lab.hosts["r"])[0]["settings"]
    assert (profile["ipv4"]["address1"], profile["ipv4"]["address2"]) == ("10.1.0.1/24", "10.1.0.2/24")
    assert (profile["ipv6"]["address1"], profile["ipv6"]["address2"]) == ("fd00:1::1/64", "fd00:1::2/64")
    seed = seed_for(
        lab, lab.hosts["r"], instance="i", host_key=HostKey("k", "p"), login_keys=(), password="x"
    )
    assert all(each in seed.network_config for each in every)
    # Traces go to the main one.
    assert {str(path.address) for path in expectations(lab).paths() if path.target == "r"} == {
        "10.1.0.1",
        "fd00:1::1",
        "10.2.0.0",
        "fd00:2::",
    }


def test_a_nic_may_have_no_address(lab: Lab) -> None:
    for host, network in (("a", "left"), ("s", "bare")):
        nic = lab.hosts[host].nic(network)
        assert nic is not None
        assert nic.addresses == ()
        (profile,) = (each for each in desired_profiles(lab, lab.hosts[host]) if each["network"] == network)
        assert profile["settings"]["ipv4"]["method"] == "disabled"


def test_both_addresses_of_a_link_are_for_hosts(lab: Lab) -> None:
    routes = {str(route.prefix) for route in route_table(lab, "r") if route.via is None}
    assert {"10.2.0.0/31", "fd00:2::/127"} <= routes


def test_a_link_local_next_hop_is_on_the_network_of_the_nic_that_has_it(lab: Lab) -> None:
    found = {(str(each.prefix), str(each.via), each.network) for each in route_table(lab, "r") if each.via}
    assert ("fd00:9::/64", "fe80::ff:fe00:3", "link") in found
    found = {(str(each.prefix), str(each.via), each.network) for each in route_table(lab, "s") if each.via}
    assert ("fd00:1::/64", "fe80::ff:fe00:2", "link") in found
    # The way through it is known to the end, and IPv4 takes the same router.
    ways = {
        (path.source, path.target, path.address.version if path.address else 4): path
        for path in expectations(lab).paths()
    }
    assert ways["s", "b", 6].fault is None
    defaults = {str(each.prefix): str(each.via) for each in route_table(lab, "b") if each.via}
    assert defaults == {"0.0.0.0/0": "10.1.0.1", "::/0": "fe80::ff:fe00:1"}
