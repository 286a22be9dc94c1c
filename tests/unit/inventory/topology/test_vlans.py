"""A VLAN is a network like all others, made of one NIC's frames in each host."""

from __future__ import annotations

from labrun.inventory.file.lab_json import lab_from_json, lab_to_json
from labrun.inventory.model import Mode
from labrun.inventory.topology.jump_hosts import jumps
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.routing import route_table
from labrun.inventory.topology.vlans import carrier, is_on_vlan, vlan_device
from labrun.inventory.topology.way_in import way_in
from tests.unit.twin_lab import lab_of
from tests.unit.vlan_lab import VLANS, vlans


def test_each_nic_on_a_vlan_is_a_device_on_the_one_that_carries_it() -> None:
    lab = vlans()
    gate = lab.hosts["gate"]
    found = {nic.name: (carrier(lab, gate, nic).name, vlan_device(lab, gate, nic)) for nic in gate.interfaces}
    assert found == {
        "mgmt": ("mgmt", ""),
        "users": ("trunk", "vlan20"),
        "trunk": ("trunk", ""),
        "voice": ("trunk", "vlan30"),
    }
    assert [nic.name for nic in gate.interfaces if is_on_vlan(lab, nic)] == ["users", "voice"]
    # Whatever tells NICs apart by their MACs does so with these, too.
    assert len({nic.mac for host in lab.hosts.values() for nic in host.interfaces}) == 8


def test_one_id_on_two_networks_makes_two_devices() -> None:
    text = VLANS.replace("{on: trunk, id: 30}", "{on: far, id: 20}").replace("trunk: {mode", "far: {mode")
    text = text.replace("networks:\n  mgmt", "networks:\n  trunk: {mode: very-isolated}\n  mgmt")
    text = text.replace("trunk: none\n", "trunk: none\n      far: none\n")
    lab = lab_of(text.replace("{trunk: none, voice", "{far: none, voice"))
    gate = lab.hosts["gate"]
    names = [vlan_device(lab, gate, nic) for nic in gate.interfaces if is_on_vlan(lab, nic)]
    assert names == ["vlan20", "vlan20-2"]


def test_the_hypervisor_has_no_part_in_it_and_hosts_on_it_are_reached_through_its_router() -> None:
    lab = vlans()
    users = lab.networks["users"]
    assert (users.mode, users.hypervisor4, users.dhcp, users.is_served) == (
        Mode.VERY_ISOLATED,
        None,
        None,
        False,
    )
    assert users.kind == "vlan 20 on trunk"
    assert way_in(lab, lab.hosts["pc"]).network is None
    assert {name: (jump.via, jump.network) for name, jump in jumps(lab).items()} == {
        "pc": ("gate", "users"),
        "phone": ("gate", "voice"),
    }


def test_routes_and_paths_are_those_of_any_networks() -> None:
    lab = vlans()
    routes = [(str(each.prefix), str(each.via)) for each in route_table(lab, "phone") if each.via]
    assert routes == [("0.0.0.0/0", "10.1.30.1")]
    assert [str(hop) for hop in paths(lab, 4).path("phone", "pc").hops] == ["10.1.30.1", "10.1.20.11"]


def test_a_lab_with_vlans_survives_the_cache() -> None:
    lab = vlans()
    assert lab_from_json(lab_to_json(lab)) == lab
