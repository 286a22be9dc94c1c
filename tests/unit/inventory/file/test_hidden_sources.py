"""A rule about a source whose packets arrive with the address of a router that masquerades them."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab

TEXT = """\
name: hidden-sources
hypervisor: lxc:///system
networks:
  left: {cidr: 10.1.1.0/24, cidr6: "fd00:1:1::/64"}
  mid: {cidr: 10.1.2.0/24, cidr6: "fd00:1:2::/64"}
  right: {cidr: 10.1.3.0/24}
hosts:
  a: {networks: {left: 10.1.1.11}}
  b: {networks: {left: {ipv4: 10.1.1.12, ipv6: "fd00:1:1::12"}}}
  fw:
    role: router
    networks: {left: {ipv4: 10.1.1.254, ipv6: "fd00:1:1::fe"}, mid: {ipv4: 10.1.2.254, ipv6: "fd00:1:2::fe"}}
    NAT
  inner:
    role: router
    networks: {mid: 10.1.2.253, right: 10.1.3.254}
    firewall: {forward: drop, allow: [PASSING]}
  web:
    networks: {mid: {ipv4: 10.1.2.11, ipv6: "fd00:1:2::11", filter: f}}
    gateway: fw
    firewall: {input: drop, allow: [INCOMING]}
  last: {networks: {right: 10.1.3.11}}
filters:
  f: [{allow: in, proto: tcp, port: 22}, FILTERED, {deny: in}]
"""
ALL = "nat: {masquerade: all}"
OF_LEFT = "nat: {masquerade: [left]}"


def notices(
    tmp_path: Path,
    nat: str = ALL,
    *,
    incoming: str = "{port: 80}",
    passing: str = "{port: 80, to: last}",
    filtered: str = "{deny: in, proto: udp}",
) -> list[str]:
    text = TEXT.replace("NAT", nat).replace("INCOMING", incoming).replace("PASSING", passing)
    path = tmp_path / "lab.yaml"
    path.write_text(text.replace("FILTERED", filtered), encoding="utf-8")
    return [str(each) for each in load_lab(path).notices]


@pytest.mark.parametrize("source", ["left", "a", "b", "10.1.1.11", "10.1.1.0/25", "fd00:1:1::12"])
@pytest.mark.parametrize("nat", [ALL, OF_LEFT])
def test_a_hidden_source_is_named(tmp_path: Path, nat: str, source: str) -> None:
    why = f"has no effect: what {source} sends to web has the address of fw by then"
    found = notices(tmp_path, nat, incoming=f'{{port: 80, from: "{source}"}}')
    assert found == [f"hosts.web.firewall.allow[0].from {why}"]
    found = notices(tmp_path, nat, filtered=f'{{deny: in, from: "{source}"}}')
    assert found == [f"filters.f[1].from {why}"]


def test_so_is_one_whose_packets_only_pass(tmp_path: Path) -> None:
    found = notices(tmp_path, passing="{port: 80, from: left, to: last}")
    why = "what left sends to last has the address of fw by then"
    assert found == [f"hosts.inner.firewall.allow[0].from has no effect: {why}"]


@pytest.mark.parametrize(
    ("nat", "source"),
    [
        ("gateway: none", "left"),
        ("nat: {masquerade: [mid]}", "left"),
        # The translated address is on that network, and its own is the router's.
        (ALL, "mid"),
        (ALL, "fw"),
        (ALL, "10.1.0.0/16"),
        # Nobody of the lab: what comes from there is not in the file.
        (ALL, "192.0.2.0/24"),
        (ALL, "10.1.1.99"),
    ],
)
def test_a_source_that_arrives_is_not(tmp_path: Path, nat: str, source: str) -> None:
    assert notices(tmp_path, nat, incoming=f"{{port: 80, from: {source}}}") == []
    assert notices(tmp_path, nat, filtered=f"{{deny: in, from: {source}}}") == []


def test_what_a_guest_sends_has_not_been_translated_yet(tmp_path: Path) -> None:
    assert notices(tmp_path, filtered="{deny: out, from: left}") == []
