"""From the NIC's configuration that of a bridge with the NIC as its port, for each manager."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest
import yaml

from labrun.errors import HostBridgeError
from labrun.tasks.guest import keyfile
from labrun.tasks.host_bridge import ifupdown, netplan
from labrun.tasks.host_bridge.model import Addressing, Device
from labrun.tasks.host_bridge.network_manager import profiles_of

NIC = Device("enp3s0", mac="52:54:00:aa:bb:cc")
STATIC = Addressing(
    (ip_interface("192.168.7.5/24"), ip_interface("192.168.8.5/24")),
    (ip_address("192.168.7.1"),),
    (ip_address("192.168.7.53"),),
)
UUIDS = {"bridge_uuid": "b", "port_uuid": "p"}
PROFILE = """\
[connection]
id=lan
uuid=old
type=ethernet
zone=home
[ethernet]
mac-address=52:54:00:AA:BB:CC
mtu=9000
[ipv4]
method=auto
dns-search=example.net;
route1=10.0.0.0/8,192.168.1.9
[ipv6]
method=auto
"""


def test_networkmanager_moves_addresses_and_zone_and_leaves_hardware_with_the_port() -> None:
    made = profiles_of(keyfile.parse(PROFILE), NIC, "br0", UUIDS, None)
    bridge, port = keyfile.parse(made[""]), keyfile.parse(made["-port"])
    assert bridge == {
        "connection": {
            "id": "br0",
            "uuid": "b",
            "type": "bridge",
            "interface-name": "br0",
            "autoconnect-slaves": "1",
            "zone": "home",
        },
        "bridge": {"mac-address": "52:54:00:aa:bb:cc", "stp": "false", "forward-delay": "0"},
        "ipv4": {
            "method": "auto",
            "dns-search": "example.net;",
            "route1": "10.0.0.0/8,192.168.1.9",
        },
        "ipv6": {"method": "auto"},
        "ethernet": {"mtu": "9000"},
    }
    assert port == {
        "connection": {
            "id": "br0 port enp3s0",
            "uuid": "p",
            "type": "ethernet",
            "interface-name": "enp3s0",
            "autoconnect-priority": "999",
            "master": "br0",
            "slave-type": "bridge",
        },
        "ethernet": {"mac-address": "52:54:00:AA:BB:CC", "mtu": "9000"},
    }


def test_networkmanager_gets_static_addresses_for_the_versions_given_only() -> None:
    made = keyfile.parse(profiles_of(keyfile.parse(PROFILE), NIC, "br0", UUIDS, STATIC)[""])
    assert made["ipv4"] == {
        "method": "manual",
        "address1": "192.168.7.5/24",
        "address2": "192.168.8.5/24",
        "gateway": "192.168.7.1",
        "dns": "192.168.7.53;",
        "dns-search": "example.net;",
        "route1": "10.0.0.0/8,192.168.1.9",
    }
    assert made["ipv6"] == {"method": "auto"}


FIRST = {"network": {"version": 2, "ethernets": {"enp3s0": {"dhcp4": True, "mtu": 9000}, "other": {}}}}
LAST = {
    "network": {
        "ethernets": {
            "lan": {
                "match": {"macaddress": "52:54:00:AA:BB:CC"},
                "addresses": ["fd00::5/64"],
                "routes": [{"to": "default", "via": "192.168.1.1"}, {"to": "default", "via": "fd00::1"}],
                "wakeonlan": True,
            }
        }
    }
}


def test_netplan_merges_what_several_files_say_of_the_nic_as_netplan_does() -> None:
    new = netplan.with_bridge(
        {"01.yaml": FIRST, "02.yaml": LAST, "03.yaml": {"network": {}}}, NIC, "br0", None
    )
    assert {name: yaml.safe_load(text) for name, text in new.items()} == {
        "01.yaml": {"network": {"version": 2, "ethernets": {"other": {}}}},
        "02.yaml": {
            "network": {
                "ethernets": {
                    "lan": {
                        "mtu": 9000,
                        "match": {"macaddress": "52:54:00:AA:BB:CC"},
                        "wakeonlan": True,
                        "dhcp4": False,
                        "dhcp6": False,
                        "link-local": [],
                    }
                },
                "bridges": {
                    "br0": {
                        "interfaces": ["lan"],
                        "macaddress": "52:54:00:aa:bb:cc",
                        "parameters": {"stp": False, "forward-delay": 0},
                        "dhcp4": True,
                        "mtu": 9000,
                        "addresses": ["fd00::5/64"],
                        "routes": [
                            {"to": "default", "via": "192.168.1.1"},
                            {"to": "default", "via": "fd00::1"},
                        ],
                    }
                },
            }
        },
    }


def test_netplan_gets_static_addresses_and_keeps_those_of_the_other_version() -> None:
    new = netplan.with_bridge({"01.yaml": FIRST, "02.yaml": LAST}, NIC, "br0", STATIC)
    assert yaml.safe_load(new["02.yaml"])["network"]["bridges"]["br0"] == {
        "interfaces": ["lan"],
        "macaddress": "52:54:00:aa:bb:cc",
        "parameters": {"stp": False, "forward-delay": 0},
        "dhcp4": False,
        "mtu": 9000,
        "addresses": ["fd00::5/64", "192.168.7.5/24", "192.168.8.5/24"],
        "routes": [{"to": "default", "via": "fd00::1"}, {"to": "0.0.0.0/0", "via": "192.168.7.1"}],
        "nameservers": {"addresses": ["192.168.7.53"]},
    }


def test_netplan_definitions_of_several_nics_are_refused() -> None:
    tree = {"network": {"ethernets": {"all": {"match": {"name": "en*"}, "dhcp4": True}}}}
    with pytest.raises(HostBridgeError) as caught:
        netplan.definitions({"50.yaml": tree}, NIC)
    assert str(caught.value) == (
        "/etc/netplan/50.yaml configures enp3s0 by a pattern, and other NICs with it"
        " (give enp3s0 a definition of its own there, then repeat this command)"
    )


MAIN = """\
# This file describes the interfaces.
auto lo enp3s0
iface lo inet loopback

# the uplink
iface enp3s0 inet static
    address 192.168.1.5/24
    gateway 192.168.1.1
    dns-nameservers 192.168.1.53
    up ip route add 10.0.0.0/8 via 192.168.1.9 dev enp3s0 \\
        metric 5
iface enp3s0.5 inet manual
"""
SIX = "iface enp3s0 inet6 auto\n"


def test_ifupdown_moves_the_stanzas_and_what_they_run() -> None:
    new = ifupdown.with_bridge({"/etc/a": MAIN, "/etc/b": SIX, "/etc/c": "auto x\n"}, NIC, "br0", None)
    assert new == {
        "/etc/a": """\
# This file describes the interfaces.
auto lo enp3s0
iface lo inet loopback

# the uplink
iface enp3s0 inet manual

auto br0
iface br0 inet static
    pre-up ip link add name br0 address 52:54:00:aa:bb:cc type bridge stp_state 0 forward_delay 0 || true
    pre-up ip link set dev enp3s0 master br0 up
    post-down ip link delete br0 || true
    address 192.168.1.5/24
    gateway 192.168.1.1
    dns-nameservers 192.168.1.53
    up ip route add 10.0.0.0/8 via 192.168.1.9 dev br0 \\
        metric 5
iface enp3s0.5 inet manual
""",
        "/etc/b": "iface br0 inet6 auto\n",
    }


def test_ifupdown_gets_static_addresses_and_keeps_what_else_the_stanza_says() -> None:
    new = ifupdown.with_bridge({"/etc/a": MAIN, "/etc/b": SIX}, NIC, "br0", STATIC)
    assert new["/etc/b"] == "iface br0 inet6 auto\n"
    assert (
        new["/etc/a"].partition("auto br0\n")[2]
        == """\
iface br0 inet manual
    pre-up ip link add name br0 address 52:54:00:aa:bb:cc type bridge stp_state 0 forward_delay 0 || true
    pre-up ip link set dev enp3s0 master br0 up
    post-down ip link delete br0 || true
    dns-nameservers 192.168.1.53
    up ip route add 10.0.0.0/8 via 192.168.1.9 dev br0 \\
        metric 5

iface br0 inet static
    address 192.168.7.5/24
    gateway 192.168.7.1

iface br0 inet static
    address 192.168.8.5/24
iface enp3s0.5 inet manual
"""
    )
