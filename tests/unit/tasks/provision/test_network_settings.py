"""A network's settings: what is written into XML is what is read there, whatever is combined."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import product

import pytest

from labrun.inventory.model import Mode
from labrun.tasks.provision.network_settings import (
    _FORWARD,
    ENTRIES,
    LIVE,
    SETTINGS,
    add_settings,
    read_settings,
)
from tests.shares import of_ci

SAMPLES = {
    "nat6": "yes",
    "ipv4": "10.1.0.1/24",
    "ipv6": "fd00:1::1/64",
    "dhcp": "10.1.0.128-10.1.0.254",
    "domain": "lab.example",
    "mtu": "1400",
    "dev": "eth7",
    "bridge": "br0",
    "bridge_name": "lab-left",
    "nat_ports": "2000-3000",
    "reservations": "02:00:00:00:00:01=10.1.0.10/b-c 02:00:00:00:00:03=10.1.0.8/",
    "dhcp6": "fd00:1::8000-fd00:1::ffff",
    "reservations6": "a=fd00:1::8001 b-c=fd00:1::9000",
    "dns": "10.1.0.1=a 10.1.0.10=b,www.lab.example fd00:1::10=a",
}
IN_XML = [key for key, setting in SETTINGS.items() if setting.form is not None]


def combinations(forward: str) -> Iterator[dict[str, str]]:
    """Yield every set of settings that can be together with this forwarding, each set or not."""
    for choice in product((False, True), repeat=len(SAMPLES)):
        chosen = dict(zip(SAMPLES, choice, strict=True))
        settings = {key: value if chosen[key] else "" for key, value in SAMPLES.items()}
        if (settings["dhcp"] or settings["reservations"]) and not settings["ipv4"]:
            continue
        if (settings["dhcp6"] or settings["reservations6"]) and not settings["ipv6"]:
            continue
        if (settings["dev"] or settings["nat_ports"] or settings["nat6"]) and not forward:
            continue
        if settings["bridge"] and forward != "bridge":
            continue
        if settings["bridge_name"] and forward == "bridge":
            continue
        yield {"forward": forward, **settings}


def written(settings: dict[str, str]) -> str:
    root = ET.Element("network")
    add_settings(root, settings)
    return ET.tostring(root, encoding="unicode")


def test_no_setting_is_left_out_here() -> None:
    assert {"forward", *SAMPLES} == set(IN_XML)
    assert set(SETTINGS) - set(IN_XML) == {"autostart", "active", "dnsmasq", "device", "firewall"}


# Without a forward, with one, and with a bridge of the hypervisor's.
@pytest.mark.parametrize(
    "forward", of_ci(sorted({_FORWARD.get(mode, "") for mode in Mode}), ("", "nat", "bridge"))
)
def test_what_is_written_is_read(forward: str) -> None:
    count = 0
    for settings in combinations(forward):
        assert read_settings(written(settings)) == settings
        count += 1
    assert count >= 2**6


@pytest.mark.parametrize("key", IN_XML)
def test_each_setting_is_in_the_xml(key: str) -> None:
    """One that was neither written nor read would pass the round trip where it is empty."""
    settings = {"forward": "bridge" if key == "bridge" else "nat", **SAMPLES}
    settings["bridge"] = "br0" if key == "bridge" else ""
    settings["bridge_name"] = "" if key == "bridge" else "lab-left"
    without = {**settings, key: ""}
    if key == "ipv4":
        without |= {"dhcp": "", "reservations": ""}
    if key == "ipv6":
        without |= {"dhcp6": "", "reservations6": ""}
    if key == "forward":
        without |= {"dev": "", "nat_ports": "", "nat6": ""}
    assert read_settings(written(without))[key] == ""
    assert written(without) != written(settings)


def test_what_a_running_network_shows_beyond_its_definition() -> None:
    xml = """<network><forward mode="nat"><nat><port start="1024" end="65535"/></nat></forward>
    <bridge name="virbr7" stp="off" delay="0"/><mac address="52:54:00:00:00:01"/>
    <ip address="10.1.0.1" netmask="255.255.255.0"><dhcp><host mac="02:AA:00:00:00:01" ip="10.1.0.2"/>
    <host id="0:3:0:1:0:16:3e:11:22:33" name="six" ip="fd00::2"/></dhcp></ip></network>"""
    found = read_settings(xml)
    assert {key: text for key, text in found.items() if text} == {
        "forward": "nat",
        "ipv4": "10.1.0.1/24",
        "reservations": "02:aa:00:00:00:01=10.1.0.2/",
    }


def test_values_cannot_break_out_of_the_xml() -> None:
    evil = '"/><evil a="&'
    settings = {**dict.fromkeys(SAMPLES, ""), "forward": "nat", "dev": evil, "domain": evil}
    assert "<evil" not in written(settings)
    assert read_settings(written(settings)) == settings


def test_what_changes_while_the_network_runs_can_be_changed() -> None:
    assert {*ENTRIES, "autostart", "active", "dnsmasq"} == LIVE
