"""Where the machines of a lab over several hypervisors go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.inventory.topology.placement import Placement, place_hosts, span_fault

HEAD = """\
name: demo
hypervisors:
  a: {uri: "qemu:///system", tunnel: 10.0.0.1}
  b: {uri: "qemu+ssh://lab@b/system", tunnel: 10.0.0.2%s}
defaults: {memory: 100}
networks: {lan: {mode: isolated, cidr: 10.1.0.0/24, dhcp: false%s}}
hosts:
"""


def lab_of(tmp_path: Path, *hosts: str, weight: str = "", network: str = "") -> Lab:
    lines = []
    for number, host in enumerate(hosts):
        name, _, more = host.partition(" ")
        lines.append(f"  {name}: {{{more + ', ' if more else ''}networks: {{lan: 10.1.0.{11 + number}}}}}\n")
    path = tmp_path / "lab.yaml"
    path.write_text(HEAD % (weight, network) + "".join(lines), encoding="utf-8")
    return load_lab(path)


def where(placement: Placement) -> Mapping[str, str]:
    return {host: place.hypervisor for host, place in placement.places.items()}


def test_the_file_comes_first(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "x hypervisor: b", "y hypervisor: a", "z hypervisor: auto")
    found = place_hosts(lab, {}, {"a": 1000, "b": 5000})
    assert where(found) == {"x": "b", "y": "a", "z": "b"}
    assert [place.why for place in found.places.values()] == [
        "set in the lab file",
        "set in the lab file",
        "most memory left for its weight",
    ]


def test_a_machine_stays_where_it_is(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "x", "y")
    first = place_hosts(lab, {"x": "a"}, {"a": 200, "b": 5000})
    assert where(first) == {"x": "a", "y": "b"}
    assert first.places["x"].why == "it is already there"
    # A second run has nothing to decide.
    again = place_hosts(lab, where(first), {"a": 5000, "b": 200})
    assert where(again) == where(first)


def test_memory_and_weight_decide(tmp_path: Path) -> None:
    hosts = [f"h{number}" for number in range(6)]
    even = place_hosts(lab_of(tmp_path, *hosts), {}, {"a": 1000, "b": 1000})
    assert list(where(even).values()) == ["a", "b", "a", "b", "a", "b"]
    heavy = place_hosts(lab_of(tmp_path, *hosts, weight=", weight: 3"), {}, {"a": 1000, "b": 1000})
    assert list(where(heavy).values()) == ["b"] * 6


def test_a_redundancy_group_stays_together(tmp_path: Path) -> None:
    pair = ["x memory: 150, redundancy: gw", "y memory: 150, redundancy: gw"]
    lab = lab_of(tmp_path, "w memory: 250", *pair)
    found = place_hosts(lab, {}, {"a": 400, "b": 310})
    assert where(found) == {"w": "b", "x": "a", "y": "a"}
    assert found.places["y"].why == "with the redundancy group gw"
    # Where no hypervisor has room for both, each goes where it fits.
    assert where(place_hosts(lab, {"w": "b"}, {"a": 200, "b": 450})) == {"w": "b", "x": "a", "y": "b"}


def test_a_host_that_fits_nowhere_is_said(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "x memory: 300", "y memory: 250", "z hypervisor: a")
    found = place_hosts(lab, {}, {"a": 340, "b": 310})
    assert where(found) == {"x": "b", "z": "a"}
    assert found.homeless == {"y": "it needs 250 MiB, and a has 240, b has 10 left"}
    none = place_hosts(lab, {}, {})
    assert none.homeless["x"] == "no hypervisor answers that could take its 300 MiB"


def test_what_the_file_moved_is_named(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "x hypervisor: b")
    assert place_hosts(lab, {"x": "a"}, {"a": 500, "b": 500}).moved == {"x": "a"}
    assert place_hosts(lab, {"x": "b"}, {"a": 500, "b": 500}).moved == {}


def test_the_home_of_a_network_is_the_first_hypervisor_on_it(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "x hypervisor: b", "y hypervisor: a")
    found = place_hosts(lab, {}, {"a": 500, "b": 500})
    assert found.of_network(lab, "lan") == ("a", "b")
    lab = lab_of(tmp_path, "x hypervisor: b")
    assert place_hosts(lab, {}, {"a": 500, "b": 500}).of_network(lab, "lan") == ("b",)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("", None),
        (", mtu: 1300", None),
        (", mtu: 9000", "an MTU of 9000 leaves no room for the tunnel's 50 bytes"),
    ],
)
def test_which_networks_can_span(tmp_path: Path, network: str, said: str | None) -> None:
    lab = lab_of(tmp_path, "x", network=network)
    fault = span_fault(lab, lab.networks["lan"], ("a", "b"))
    assert (fault[0] if fault else None) == said
    assert span_fault(lab, lab.networks["lan"], ("a",)) is None
