"""What of a lab is on each of its hypervisors, and the ends of the tunnels of networks that span."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab, Mode
from labrun.inventory.topology.parts import homes_of, part_of, placement_faults, spanned
from labrun.inventory.topology.placement import Placement, place_hosts
from labrun.inventory.topology.tunnels import tunnels_of, vni_of

TEXT = """\
name: demo
hypervisors:
  a: {uri: "qemu:///system", tunnel: 10.0.0.1}
  b: {uri: "qemu+ssh://lab@b/system", tunnel: 10.0.0.2}
  c: {uri: "qemu+ssh://lab@c/system", tunnel: 10.0.0.3}
networks:
  lan: {mode: nat, cidr: 10.1.0.0/24}
  own: {mode: isolated, cidr: 10.2.0.0/24}
  back: {mode: very-isolated, cidr: 10.3.0.0/24}
hosts:
  one: {hypervisor: a, networks: {lan: 10.1.0.11, back: 10.3.0.11}}
  two: {hypervisor: b, networks: {lan: 10.1.0.12, own: 10.2.0.12, back: 10.3.0.12}}
  three: {hypervisor: c, networks: {back: 10.3.0.13}}
"""


def placed(tmp_path: Path, text: str = TEXT) -> tuple[Lab, Placement]:
    path = tmp_path / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    lab = load_lab(path)
    return lab, place_hosts(lab, {}, dict.fromkeys(lab.hypervisors, 100_000))


def test_each_hypervisor_has_its_hosts_and_their_networks(tmp_path: Path) -> None:
    lab, placement = placed(tmp_path)
    parts = {name: part_of(lab, placement, name) for name in lab.hypervisors}
    assert {name: (list(part.hosts), list(part.networks)) for name, part in parts.items()} == {
        "a": (["one"], ["lan", "back"]),
        "b": (["two"], ["lan", "own", "back"]),
        "c": (["three"], ["back"]),
    }
    assert homes_of(lab, placement) == {"lan": "a", "own": "b", "back": "a"}
    assert spanned(lab, placement) == {"lan": ("a", "b"), "back": ("a", "b", "c")}


def test_only_the_home_has_the_address_and_dhcp(tmp_path: Path) -> None:
    lab, placement = placed(tmp_path)
    home, away = (part_of(lab, placement, name).networks["lan"] for name in "ab")
    assert home == lab.networks["lan"]
    assert (away.mode, away.hypervisor4, away.dhcp, away.cidr) == (Mode.VERY_ISOLATED, None, None, home.cidr)
    assert part_of(lab, placement, "b").networks["own"] == lab.networks["own"]


def test_a_filter_that_needs_nftables_is_where_a_host_has_it(tmp_path: Path) -> None:
    text = TEXT.replace("lan: 10.1.0.11,", "lan: {ipv4: 10.1.0.11, filter: logs},")
    text += "filters:\n  logs: [{deny: in, proto: tcp, port: 99, log: true}]\n  plain: [{deny: in}]\n"
    lab, placement = placed(tmp_path, text)
    parts = {name: list(part_of(lab, placement, name).filters) for name in lab.hypervisors}
    assert parts == {"a": ["logs", "plain"], "b": ["plain"], "c": ["plain"]}


def test_every_nic_elsewhere_is_behind_its_peer(tmp_path: Path) -> None:
    lab, placement = placed(tmp_path)
    lan, back = tunnels_of(lab, placement, "b")
    macs = {nic.name: nic.mac for nic in lab.hosts["one"].interfaces}
    third = lab.hosts["three"].interfaces[0].mac
    assert (lan.local, lan.peers) == (ip_address("10.0.0.2"), {"a": ip_address("10.0.0.1")})
    assert lan.macs == {macs["lan"]: ip_address("10.0.0.1")}
    assert back.peers == {"a": ip_address("10.0.0.1"), "c": ip_address("10.0.0.3")}
    assert back.macs == {macs["back"]: ip_address("10.0.0.1"), third: ip_address("10.0.0.3")}
    assert len(list(tunnels_of(lab, placement, "c"))) == 1


def test_devices_are_called_alike_on_all_and_differ_by_lab_and_network(tmp_path: Path) -> None:
    lab, placement = placed(tmp_path)
    names = {each.device for name in "abc" for each in tunnels_of(lab, placement, name)}
    assert names == {f"lrv{vni_of('demo', network):06x}" for network in ("lan", "back")}
    assert all(len(name) < 16 for name in names)
    assert len({vni_of(name, network) for name in ("demo", "other") for network in ("lan", "back")}) == 4


def test_a_lab_on_one_of_them_has_no_tunnels(tmp_path: Path) -> None:
    lab, placement = placed(tmp_path, TEXT.replace("hypervisor: b", "hypervisor: a").replace(": c", ": a"))
    assert spanned(lab, placement) == {}
    assert [list(tunnels_of(lab, placement, name)) for name in "abc"] == [[], [], []]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("", ""), {}),
        (
            ("own: {mode: isolated", "own: {mode: route"),
            {
                "lan": "a forwards for it and b for own: the two do not route to each other"
                " (put a host of both on one)",
            },
        ),
    ],
)
def test_networks_that_route_to_each_other_need_one_home(
    tmp_path: Path, change: tuple[str, str], said: dict[str, str]
) -> None:
    lab, placement = placed(tmp_path, TEXT.replace(*change) if change[0] else TEXT)
    assert placement_faults(lab, placement) == said


def test_a_network_that_comes_to_span_needs_tunnels(tmp_path: Path) -> None:
    text = TEXT.replace(", tunnel: 10.0.0.2", "").replace("two: {hypervisor: b, ", "two: {")
    lab, _ = placed(tmp_path, text)
    placement = place_hosts(lab, {"two": "b"}, dict.fromkeys(lab.hypervisors, 1000))
    assert placement_faults(lab, placement)["lan"] == (
        "the network spans a, b, and b has no tunnel (hypervisors.b.tunnel is its address for the others)"
    )
