"""The hypervisor's end of a NIC, by libvirt's XML and what the kernel lists."""

from __future__ import annotations

import socket
import xml.etree.ElementTree as ET
from ipaddress import ip_address
from typing import Any

import pytest

from labrun.tasks.out_of_band import hypervisor_side
from labrun.tasks.out_of_band.attempt import Port
from labrun.tasks.out_of_band.hypervisor_side import client_towards

NETWORKS = {"lab-left": hypervisor_side._Network("lab-left", bridge="virbr1")}
NIC = "<interface type='network'><source network='lab-left'/><target dev='vnet1'/>{more}</interface>"


def tap(**more: Any) -> dict[str, Any]:
    about = {"info_slave_data": {"state": "forwarding", **more.pop("port", {})}}
    return {"vnet1": {"flags": ["UP"], "master": "virbr1", "linkinfo": about, **more}}


@pytest.mark.parametrize(
    ("more", "kernel", "expected"),
    [
        ("", tap(), Port("vnet1", True, "virbr1", "virbr1", "forwarding")),
        ("", tap(flags=[]), Port("vnet1", False, "virbr1", "virbr1", "forwarding")),
        ("", tap(master="br9"), Port("vnet1", True, "br9", "virbr1", "forwarding")),
        ("", {"vnet1": {"flags": ["UP"]}}, Port("vnet1", True, "", "virbr1")),
        ("", tap(port={"state": "disabled"}), Port("vnet1", True, "virbr1", "virbr1", "disabled")),
        ("", tap(port={"isolated": True}), Port("vnet1", True, "virbr1", "virbr1", "forwarding", True)),
        ("<link state='down'/>", tap(), Port("vnet1", True, "virbr1", "virbr1", "forwarding", is_cut=True)),
        # The device is gone.
        ("", {}, Port("vnet1", is_up=False)),
        # A hypervisor elsewhere: its kernel is not asked.
        ("", None, Port("vnet1")),
        ("<link state='down'/>", None, Port("vnet1", is_cut=True)),
    ],
)
def test_an_end(more: str, kernel: dict[str, Any] | None, expected: Port) -> None:
    nic = ET.fromstring(NIC.format(more=more))
    assert hypervisor_side._port(nic, NETWORKS, kernel) == expected


def test_a_macvtap_nic_is_in_no_bridge() -> None:
    nic = ET.fromstring("<interface type='direct'><source dev='eth0'/><target dev='macvtap0'/></interface>")
    assert hypervisor_side._port(nic, {}, tap()) == Port("macvtap0")


def test_a_bridge_of_somebody_else() -> None:
    nic = ET.fromstring("<interface type='bridge'><source bridge='br0'/><target dev='vnet1'/></interface>")
    assert hypervisor_side._port(nic, {}, tap()).meant == "br0"


def test_where_packets_come_from() -> None:
    assert client_towards(ip_address("127.0.0.9")) == ip_address("127.0.0.1")
    if socket.has_ipv6:
        assert client_towards(ip_address("::1")) in (ip_address("::1"), None)
