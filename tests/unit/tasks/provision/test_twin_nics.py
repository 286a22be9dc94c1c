"""What the hypervisor is told of NICs on one network: each has its tap, its reservation, its filter."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from labrun.inventory.model import Lab
from labrun.tasks.provision.driver import tap_name
from labrun.tasks.provision.filter_table import filter_table
from labrun.tasks.provision.network_settings import add_settings, wanted_settings
from labrun.tasks.provision.refused_traffic import recording
from labrun.tasks.provision.specs import machine_spec
from labrun.tasks.provision.spoofing_table import guarded, spoofing_table
from tests.unit.twin_lab import TWINS, lab_of, twins


def settings(lab: Lab) -> dict[str, str]:
    return wanted_settings(lab, lab.networks["left"])


def test_each_nic_has_a_reservation_and_only_the_first_one_has_the_host_s_name() -> None:
    lab = twins()
    first, second, third = lab.hosts["h"].interfaces
    assert third.ipv4 is not None
    words = settings(lab)["reservations"].split()
    assert f"{first.mac}=10.0.0.11/h" in words
    assert f"{second.mac}=10.0.0.12/" in words
    assert f"{third.mac}={third.ipv4.ip}/" in words
    root = ET.Element("network")
    add_settings(root, settings(lab))
    named = [each.get("name") for each in root.iterfind("ip/dhcp/host")]
    # libvirt refuses a second entry with the same name.
    assert sorted(name for name in named if name) == ["h", "r", "w"]
    assert len(named) == 5


def test_the_name_resolves_to_all_of_them() -> None:
    words = settings(twins())["dns"].split()
    assert {"10.0.0.11=h", "10.0.0.12=h", "fd00:1::11=h", "fd00:1::12=h"} <= set(words)


def test_each_has_its_tap_and_its_filter() -> None:
    lab = twins()
    first, second, third = lab.hosts["h"].interfaces
    spec = machine_spec(lab, lab.hosts["h"])
    assert [(nic.mac, nic.source, nic.device) for nic in spec.nics] == [
        (nic.mac, "twins-left", tap_name(nic.mac)) for nic in (first, second, third)
    ]
    table = filter_table(lab, lab.filters["web"], "t")
    assert tap_name(second.mac) in table
    assert not any(tap_name(nic.mac) in table for nic in (first, third))
    assert list(recording(lab, lab.hosts["h"])) == ["left2"]


def test_the_first_may_send_from_the_addresses_of_the_others() -> None:
    lab = twins()
    first, *_ = lab.hosts["h"].interfaces
    assert [nic.name for host, nic in guarded(lab) if host.name == "h"] == ["left", "left2", "left3"]
    table = spoofing_table(lab, "t")
    assert all(f'"{tap_name(first.mac)}" . {own}' in table for own in ("10.0.0.11", "10.0.0.12"))
    # Frames have the MAC of the NIC that sends them.
    assert table.count(f'"{tap_name(first.mac)}" . 02:') == 1


def test_a_nic_s_name_is_none_of_libvirt_s() -> None:
    renamed = lab_of(TWINS.replace("left2: {network", "uplink: {network"))
    spec = machine_spec(renamed, renamed.hosts["h"])
    assert {nic.source for nic in spec.nics} == {"twins-left"}
