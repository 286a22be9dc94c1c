"""Where hosts answer: the file first, then leases by MAC, then agents, and why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.exports import export
from labrun.inventory.hosts.locate import Located, locate, still_held
from labrun.inventory.model import Lab
from labrun.ports import Lease

LAB = """\
name: far
networks:
  iso: {mode: isolated, cidr: 10.4.1.0/24}
  two: {mode: isolated, cidr: 10.4.2.0/24, cidr6: "fd04:2::/64"}
  six: {mode: isolated, cidr6: "fd04:6::/64"}
  deaf: {mode: very-isolated, cidr: 10.4.3.0/24}
  lan: {mode: bridge, bridge: br0}
hosts:
  fixed: {networks: {iso: 10.4.1.11}}
  leased: {networks: {two: dhcp}}
  both: {networks: {deaf: 10.4.3.12, two: dhcp}}
  only6: {networks: {six: "fd04:6::12"}}
  hidden: {networks: {deaf: 10.4.3.13}}
  outside: {networks: {lan: dhcp}}
  mixed: {networks: {lan: dhcp, iso: 10.4.1.14}}
  existing: {address: box.example.org}
"""


@dataclass
class Leases:
    """A lease table that remembers what it was asked for."""

    known: list[Lease] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def leases(self, networks: Iterable[str]) -> tuple[Lease, ...]:
        self.asked.append(tuple(networks))
        return tuple(self.known)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    return load_lab(tmp_path / "lab.yaml")


def lease(lab: Lab, host: str, network: str, address: str, source: str = "lease") -> Lease:
    nic = lab.hosts[host].nic(network)
    assert nic is not None
    return Lease(nic.mac.upper(), ip_address(address), source)


def told(located: Located) -> tuple[str | None, str | None, str | None]:
    return located.address, located.source, located.network


def test_the_file_knows_fixed_addresses_and_nobody_is_asked_for_them(lab: Lab) -> None:
    source = Leases()
    located = locate(lab, source)
    assert told(located["fixed"]) == ("10.4.1.11", "file", "iso")
    assert told(located["only6"]) == ("fd04:6::12", "file", "six")
    assert told(located["existing"]) == ("box.example.org", "file", None)
    assert source.asked == [("far-two", "far-lan")]
    assert list(located) == list(lab.hosts)


def test_a_lab_of_fixed_addresses_asks_nobody(tmp_path: Path) -> None:
    text = (
        "name: a\nnetworks: {n: {mode: isolated, cidr: 10.4.1.0/24}}\nhosts: {h: {networks: {n: 10.4.1.9}}}\n"
    )
    (tmp_path / "lab.yaml").write_text(text, encoding="utf-8")
    source = Leases()
    locate(load_lab(tmp_path / "lab.yaml"), source)
    assert source.asked == []


def test_an_address_that_a_nic_forms_itself_does_not_go_before_its_lease(tmp_path: Path) -> None:
    """The lease made the host ready; the other one comes with the router's next advertisement."""
    text = "name: far\nnetworks: {two: {cidr: 10.4.2.0/24, cidr6: 'fd04:2::/64'}}\n"
    text += "hosts: {leased: {networks: {two: {ipv4: dhcp, ipv6: auto}}}}\n"
    (tmp_path / "lab.yaml").write_text(text, encoding="utf-8")
    lab = load_lab(tmp_path / "lab.yaml")
    leases = Leases([lease(lab, "leased", "two", "10.4.2.130")])
    assert told(locate(lab, leases)["leased"]) == ("10.4.2.130", "lease", "two")
    assert leases.asked == [("far-two",)]


def test_a_lease_is_found_by_mac(lab: Lab) -> None:
    source = Leases([lease(lab, "leased", "two", "10.4.2.200")])
    assert told(locate(lab, source)["leased"]) == ("10.4.2.200", "lease", "two")


def test_a_lease_goes_before_the_agent_and_the_newest_lease_first(lab: Lab) -> None:
    source = Leases(
        [
            lease(lab, "leased", "two", "10.4.2.199", "agent"),
            lease(lab, "leased", "two", "10.4.2.200"),
            lease(lab, "leased", "two", "10.4.2.201"),
        ]
    )
    assert told(locate(lab, source)["leased"]) == ("10.4.2.200", "lease", "two")


def test_the_agent_is_the_last_to_be_believed(lab: Lab) -> None:
    source = Leases(
        [
            lease(lab, "leased", "two", "fe80::1", "agent"),
            lease(lab, "leased", "two", "192.0.2.1", "agent"),
            lease(lab, "leased", "two", "10.4.2.199", "agent"),
            lease(lab, "outside", "lan", "fe80::2", "agent"),
            lease(lab, "outside", "lan", "192.0.2.7", "agent"),
        ]
    )
    located = locate(lab, source)
    assert told(located["leased"]) == ("10.4.2.199", "agent", "two")
    assert told(located["outside"]) == ("192.0.2.7", "agent", "lan")


def test_without_a_lease_the_reason_stands_in_place_of_the_address(lab: Lab) -> None:
    located = locate(lab, Leases())
    assert told(located["leased"]) == (None, None, None)
    assert located["leased"].reason == "no lease on two"
    assert located["leased"].missing == {"two": "no lease on two"}
    assert located["outside"].reason == "no lease on lan"
    assert located["both"].reason == "no lease on two"


def test_networks_where_the_hypervisor_is_go_first(lab: Lab) -> None:
    source = Leases([lease(lab, "both", "two", "10.4.2.210"), lease(lab, "mixed", "lan", "192.0.2.8")])
    located = locate(lab, source)
    assert told(located["both"]) == ("10.4.2.210", "lease", "two")
    assert {name: str(address) for name, address in located["both"].addresses.items()} == {
        "deaf": "10.4.3.12",
        "two": "10.4.2.210",
    }
    assert told(located["mixed"]) == ("10.4.1.14", "file", "iso")
    assert told(located["hidden"]) == ("10.4.3.13", "file", "deaf")
    assert located["hidden"].through == ("both",)


def test_with_nobody_to_ask_the_reserved_address_counts(lab: Lab) -> None:
    located = locate(lab, None)
    nic = lab.hosts["leased"].nic("two")
    assert nic is not None
    assert nic.ipv4 is not None
    assert told(located["leased"]) == (str(nic.ipv4.ip), "file", "two")
    assert located["outside"].reason == "lan gives addresses by DHCP"


@pytest.mark.parametrize(
    ("had", "held"),
    [
        ({}, {}),
        ({"fixed": ["10.4.1.11"], "mixed": ["10.4.1.14"]}, {}),
        ({"fixed": ["10.4.1.14"], "mixed": ["10.4.1.14"]}, {"10.4.1.14": "fixed"}),
        # It has left that one, and nobody is given the other.
        ({"fixed": ["10.4.1.11", "10.4.1.14"]}, {}),
        ({"fixed": ["10.4.1.77"]}, {}),
        ({"fixed": ["10.4.1.14"], "mixed": ["10.4.1.11"]}, {"10.4.1.14": "fixed", "10.4.1.11": "mixed"}),
        ({"removed": ["10.4.1.11"]}, {}),
    ],
)
def test_an_address_is_held_until_its_host_was_seen_elsewhere(
    lab: Lab, had: dict[str, list[str]], held: dict[str, str]
) -> None:
    assert still_held(lab, had) == held


def test_every_address_is_listed_and_the_one_that_is_used_goes_first(tmp_path: Path) -> None:
    text = """\
name: far
networks:
  two: {cidr: 10.4.2.0/24, cidr6: "fd04:2::/64"}
  half: {cidr: 10.4.3.0/24, cidr6: "fd04:3::/64", hypervisor_address: {ipv4: none}}
hosts:
  a: {networks: {two: {ipv4: [10.4.2.5, 10.4.2.6], ipv6: "fd04:2::5"}}}
  b: {networks: {half: {ipv4: 10.4.3.5, ipv6: "fd04:3::5"}}}
"""
    (tmp_path / "lab.yaml").write_text(text, encoding="utf-8")
    lab = load_lab(tmp_path / "lab.yaml")
    located = locate(lab, Leases())
    assert told(located["a"]) == ("10.4.2.5", "file", "two")
    assert [str(each.address) for each in located["a"].also] == ["fd04:2::5", "10.4.2.6"]
    # The hypervisor has only IPv6 on the other network.
    assert told(located["b"]) == ("fd04:3::5", "file", "half")
    assert [str(each.address) for each in located["b"].also] == ["10.4.3.5"]
    lines = export(lab, located, None, "hosts").splitlines()
    assert lines[1:4] == ["10.4.2.5\ta a.two", "fd04:2::5\ta a.two", "10.4.2.6\ta a.two"]
