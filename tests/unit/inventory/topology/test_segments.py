"""Between which hosts full segments are sent over networks that span hypervisors."""

from __future__ import annotations

import io

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.inventory.topology.placement import Placement, place_hosts
from labrun.inventory.topology.segments import SegmentTrial, segment_trial, segment_trials
from labrun.inventory.topology.tunnels import device_of

HEAD = """\
name: demo
hypervisors:
  a: {uri: "qemu:///system", tunnel: 10.0.0.1}
  b: {uri: "qemu+ssh://lab@b/system", tunnel: 10.0.0.2}
  c: {uri: "qemu+ssh://lab@c/system", tunnel: 10.0.0.3}
networks:
  lan: {mode: isolated, cidr: 10.1.0.0/24}
  own: {mode: isolated, cidr: 10.2.0.0/24, mtu: 1400}
hosts:
"""
TWO = """\
  one: {hypervisor: a, networks: {lan: 10.1.0.11, own: 10.2.0.11}}
  more: {hypervisor: a, networks: {lan: 10.1.0.12, own: 10.2.0.12}}
  two: {hypervisor: b, networks: {lan: 10.1.0.13}}
"""


def placed(hosts: str) -> tuple[Lab, Placement]:
    lab = load_lab("-", stdin=io.StringIO(HEAD + hosts))
    return lab, place_hosts(lab, {}, dict.fromkeys(lab.hypervisors, 64000))


def pairs(hosts: str) -> list[tuple[str, str, str]]:
    return [(each.network, each.source, each.target) for each in segment_trials(*placed(hosts))]


def test_one_pair_in_each_direction_of_a_network_that_spans() -> None:
    lab, placement = placed(TWO)
    there, back = segment_trials(lab, placement)
    device = device_of("demo", "lan")
    target = lab.hosts["two"].interfaces[0].addresses[0].ip
    assert there == SegmentTrial("lan", "one", "two", target, 22, 1500, ("a", "b"), device)
    assert there.payload == 1472
    assert (back.source, back.target, back.between) == ("two", "one", ("b", "a"))


def test_three_hypervisors_have_six() -> None:
    found = pairs(TWO + "  three: {hypervisor: c, networks: {lan: 10.1.0.14}}\n")
    assert [each[1:] for each in found] == [
        ("one", "two"),
        ("one", "three"),
        ("two", "one"),
        ("two", "three"),
        ("three", "one"),
        ("three", "two"),
    ]


def test_a_host_that_lets_no_ssh_in_is_passed_over() -> None:
    shut = "  shut: {hypervisor: b, networks: {lan: 10.1.0.10}, firewall: {input: drop, ssh: false}}\n"
    assert ("lan", "one", "two") in pairs(shut + TWO)
    without = TWO.replace("  two: {hypervisor: b", "  two: {hypervisor: a")
    assert pairs(shut + without) == [("lan", "shut", "one")]


def test_the_port_and_the_mtu_are_the_files() -> None:
    lab, _ = placed(TWO.replace("own: 10.2.0.12}", "own: 10.2.0.12}, sshd: {Port: [2200]}"))
    found = segment_trial(lab, "own", "one", "more")
    assert found is not None
    assert (found.port, found.size, found.between, found.device) == (2200, 1400, (), "")
    assert segment_trial(lab, "own", "one", "two") is None


def test_a_lab_on_one_hypervisor_has_none() -> None:
    assert pairs(TWO.replace("hypervisor: b", "hypervisor: a")) == []
