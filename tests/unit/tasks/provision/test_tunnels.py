"""The ends of tunnels: what is planned of them, and what keeps one from being made."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from labrun.inventory.model import Lab
from labrun.inventory.topology.tunnels import Tunnel
from labrun.tasks.provision.objects import Observed, Planned
from labrun.tasks.provision.tunnel_paths import TunnelPath, tunnel_faults
from labrun.tasks.provision.tunnels import plan_tunnel, tunnel_commands, tunnel_spec

LAB = Lab("demo", "auto", {}, {})
A, B = ip_address("10.0.0.1"), ip_address("10.0.0.2")
TUNNEL = Tunnel("lan", 0xABCDEF, A, {"b": B}, {"02:00:00:00:00:01": B}, 1450)
WELL = TunnelPath(True, True, True, {str(B): 1500})


def test_an_end_that_is_as_it_should_be_needs_nothing() -> None:
    spec = tunnel_spec(LAB, TUNNEL)
    assert plan_tunnel(spec, None).action == "create"
    seen = Observed(spec.full_name, spec.want)
    assert plan_tunnel(spec, seen).action == "none"
    assert tunnel_commands("qemu:///system", Planned(spec, plan_tunnel(spec, seen), seen)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mtu", "1400"),
        ("bridge", ""),
        ("learning", "yes"),
        ("peers", ""),
        ("macs", ""),
        ("firewall", ""),
        ("up", "no"),
    ],
)
def test_what_differs_is_made_anew(key: str, value: str) -> None:
    spec = tunnel_spec(LAB, TUNNEL)
    plan = plan_tunnel(spec, Observed(spec.full_name, {**spec.want, key: value}))
    assert plan.action == "update"
    assert list(plan.item.differences) == [key]


def test_without_nft_no_table_is_asked_for() -> None:
    spec = tunnel_spec(LAB, TUNNEL)
    assert plan_tunnel(spec, Observed(spec.full_name, {**spec.want, "firewall": "no nft"})).action == "none"


def test_an_mtu_that_is_not_known_is_not_compared() -> None:
    spec = tunnel_spec(LAB, replace(TUNNEL, mtu=None))
    assert plan_tunnel(spec, Observed(spec.full_name, {**spec.want, "mtu": "1450"})).action == "none"
    assert " mtu " not in spec.xml


def test_another_tunnel_s_packets_pass_the_table() -> None:
    rule = next(line for line in tunnel_spec(LAB, TUNNEL).xml.splitlines() if "saddr" in line)
    assert "udp dport 14789 @th,96,24 0xabcdef ip saddr != { 10.0.0.2 } drop" in rule


@pytest.mark.parametrize(
    ("path", "tunnel", "said"),
    [
        (WELL, TUNNEL, ""),
        (replace(WELL, has_address=False), TUNNEL, "no device of a has 10.0.0.1 (hypervisors.a.tunnel)"),
        (replace(WELL, has_vxlan=False), TUNNEL, "the kernel of a has no VXLAN (`modprobe vxlan`)"),
        (
            replace(WELL, has_ping=False),
            TUNNEL,
            "a has no ping to measure the way with (Debian: iputils-ping)",
        ),
        (replace(WELL, largest={str(B): 0}), TUNNEL, "a gets no answer from 10.0.0.2, the tunnel of b"),
        (
            replace(WELL, largest={str(B): 1400}),
            TUNNEL,
            "its MTU is 1450, and 1350 is the most that gets from a to 10.0.0.2",
        ),
        (
            replace(WELL, largest={str(B): 1280}),
            replace(TUNNEL, mtu=1230),
            "IPv6 needs an MTU of 1280, and 1230 are left by the tunnel (remove cidr6)",
        ),
    ],
)
def test_what_keeps_an_end_from_being_made(path: TunnelPath, tunnel: Tunnel, said: str) -> None:
    has_ipv6 = tunnel.mtu == 1230
    assert tunnel_faults("a", tunnel, path, {str(B): "b"}, has_ipv6=has_ipv6) == said


def test_the_mtu_is_what_the_narrowest_way_leaves() -> None:
    third = ip_address("10.0.0.3")
    three = replace(TUNNEL, peers={"b": B, "c": third})
    assert WELL.mtu(TUNNEL) == 1450
    assert replace(WELL, largest={str(B): 1500, str(third): 1400}).mtu(three) == 1350
    assert replace(WELL, largest={str(B): 1500, str(third): 0}).mtu(three) is None
    far = ip_address("fd00::2")
    six = replace(TUNNEL, local=ip_address("fd00::1"), peers={"b": far})
    assert TunnelPath(True, True, True, {str(far): 1500}).mtu(six) == 1430
