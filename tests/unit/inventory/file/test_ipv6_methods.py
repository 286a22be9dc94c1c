"""NICs that make their IPv6 address of their MAC, or take it from DHCPv6: what follows from the file."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest
import yaml

from labrun.inventory.file.addressing import range6
from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.locate import locate
from labrun.inventory.model import Interface, Lab
from labrun.inventory.topology.eui64 import interface_in, link_local
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.way_in import way_in
from labrun.key_pairs import HostKey
from labrun.runner.engine.machine_jobs import awaited_lease
from labrun.tasks.configure.nm_profiles import desired_profiles
from labrun.tasks.provision.cloudinit import seed_for
from labrun.tasks.provision.network_settings import wanted_settings

TEXT = """\
name: lab
networks:
  ra: {mode: nat, cidr6: "fd00:1::/64"}
  v6: {cidr: 10.2.0.0/24, cidr6: "fd00:2::/64"}
  lan: {mode: bridge, bridge: br0}
hosts:
  a: {networks: {ra: {ipv6: auto, mac: "02:00:00:00:00:0a"}}}
  b: {networks: {v6: {ipv6: dhcp}}}
  c: {networks: {v6: {ipv4: dhcp, ipv6: dhcp}}}
  d: {networks: {lan: {ipv6: auto}}}
  r: {role: router, networks: {v6: "fd00:2::fe", ra: "fd00:1::fe"}}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return load_lab(path)


def nic_of(lab: Lab, host: str) -> Interface:
    return lab.hosts[host].interfaces[0]


def test_an_address_made_of_a_mac_is_known_from_the_file(lab: Lab) -> None:
    # RFC 4291, appendix A.
    assert link_local("34:56:78:9a:bc:de") == IPv6Address("fe80::3656:78ff:fe9a:bcde")
    assert str(interface_in(IPv6Network("fd00:1::/64"), "02:00:00:00:00:0a")) == "fd00:1::ff:fe00:a/64"
    assert str(nic_of(lab, "a").ipv6) == "fd00:1::ff:fe00:a/64"
    assert expectations(lab).addresses["a"]["ra"] == (nic_of(lab, "a").ipv6,)
    assert locate(lab, None)["a"].address == "fd00:1::ff:fe00:a"
    assert awaited_lease(lab, "a") is None
    assert nic_of(lab, "d").ipv6 is None
    assert way_in(lab, lab.hosts["d"]).versions == (6,)
    lease = awaited_lease(lab, "d")
    assert lease is not None
    assert (lease.is_inside, lease.version) == (True, 6)


def test_an_address_by_dhcpv6_is_reserved_by_name_and_has_no_subnet_of_its_own(lab: Lab) -> None:
    network = lab.networks["v6"]
    assert [str(end) for end in network.dhcp6 or ()] == ["fd00:2::8000", "fd00:2::ffff"]
    assert lab.networks["ra"].dhcp6 is None
    settings = wanted_settings(lab, network)
    own = nic_of(lab, "b").ipv6
    assert own is not None
    assert f"b={own.ip}" in settings["reservations6"].split()
    assert len(settings["reservations6"].split()) == 2
    assert expectations(lab).addresses["b"]["v6"] == (type(own)(f"{own.ip}/128"),)
    # Nobody else's moves when a host joins.
    text = TEXT.replace("hosts:\n", "hosts:\n  0aa: {networks: {v6: {ipv6: dhcp}}}\n")
    path = Path(lab.directory) / "more.yaml"
    path.write_text(text, encoding="utf-8")
    assert nic_of(load_lab(path), "b").ipv6 == own


def test_networkmanager_and_cloud_init_take_what_is_announced(lab: Lab) -> None:
    key = HostKey("k", "p")
    made = seed_for(lab, lab.hosts["a"], instance="i", host_key=key, login_keys=(), password="x")
    seed = yaml.safe_load(made.network_config)
    entry = seed["ethernets"]["eth0"]
    assert (entry["dhcp6"], entry.get("addresses")) == (True, None)
    # Its gateway is the router of the lab, which nobody announces; the subnet has to be said then.
    profile = desired_profiles(lab, lab.hosts["a"])[0]["settings"]["ipv6"]
    assert profile == {
        "method": "auto",
        "addr-gen-mode": "eui64",
        "ip6-privacy": "0",
        "ignore-auto-routes": "true",
        "route1": "::/0,fd00:1::fe",
        "route2": "fd00:1::/64",
    }
    by_dhcp = desired_profiles(lab, lab.hosts["b"])[0]["settings"]["ipv6"]
    assert (by_dhcp["method"], by_dhcp["dhcp-hostname"]) == ("auto", "b")


@pytest.mark.parametrize(
    ("subnet", "own", "ends"),
    [
        ("fd00::/64", "fd00::1", ("fd00::8000", "fd00::ffff")),
        ("fd00::/120", "fd00::1", ("fd00::80", "fd00::ff")),
        ("fd00::/120", "fd00::90", ("fd00::91", "fd00::ff")),
        ("fd00::/127", "fd00::1", None),
        ("fd00::/127", "fd00::", ("fd00::1", "fd00::1")),
    ],
)
def test_the_range_of_dhcpv6(subnet: str, own: str, ends: tuple[str, str] | None) -> None:
    found = range6(IPv6Network(subnet), IPv6Address(own))
    assert found == (None if ends is None else (IPv6Address(ends[0]), IPv6Address(ends[1])))


@pytest.mark.parametrize("mode", ["bridge, bridge: br0", "macvtap, dev: eth9"])
def test_a_default_announced_outside_does_not_rival_that_of_the_file(tmp_path: Path, mode: str) -> None:
    """By default NetworkManager prefers that of the first NIC, and would lead out of the network outside."""
    path = tmp_path / "lab.yaml"
    path.write_text(
        f"""\
name: lab
networks:
  lan: {{mode: {mode}}}
  six: {{mode: nat, cidr6: "fd00:1::/64"}}
hosts:
  both: {{networks: {{lan: {{ipv4: dhcp, ipv6: auto}}, six: {{ipv6: dhcp}}}}}}
  lone: {{networks: {{lan: {{ipv4: dhcp, ipv6: auto}}}}}}
  there:
    address: 192.0.2.7
    gateway: "fd00:1::1"
    networks: {{lan: {{ipv4: dhcp, ipv6: auto}}, six: {{ipv6: dhcp}}}}
""",
        encoding="utf-8",
    )
    lab = load_lab(path)
    never = {
        (host.name, profile["network"], version)
        for host in lab.hosts.values()
        for profile in desired_profiles(lab, host)
        for version in ("ipv4", "ipv6")
        if profile["settings"][version].get("never-default")
    }
    # The file has no default of IPv4, so that outside is welcome; an existing machine may be reached by it.
    assert {each for each in never if each[1] == "lan"} == {("both", "lan", "ipv6")}
