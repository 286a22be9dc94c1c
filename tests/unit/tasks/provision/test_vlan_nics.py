"""What the hypervisor is told of VLANs: nothing; and what a new guest is told of them."""

from __future__ import annotations

from labrun.key_pairs import HostKey
from labrun.tasks.provision.cloudinit import seed_for
from labrun.tasks.provision.driver import tap_name
from labrun.tasks.provision.specs import machine_spec
from labrun.tasks.provision.spoofing_table import guarded, spoofing_table
from tests.unit.vlan_lab import vlans


def test_a_machine_has_the_nics_that_carry_them() -> None:
    lab = vlans()
    spec = machine_spec(lab, lab.hosts["gate"])
    assert [nic.source for nic in spec.nics] == ["vlans-mgmt", "vlans-trunk"]


def test_a_new_guest_has_them_from_its_first_boot_on() -> None:
    import yaml

    lab = vlans()
    key = HostKey("private", "public")
    seed = seed_for(lab, lab.hosts["gate"], instance="i", host_key=key, login_keys=(), password="p")
    config = yaml.safe_load(seed.network_config)
    # The NIC that carries it comes after it in the file.
    assert list(config["ethernets"]) == ["eth0", "eth1"]
    assert config["vlans"] == {
        "vlan20": {"id": 20, "link": "eth1", "addresses": ["10.1.20.1/24", "fd01:20::1/64"], "mtu": 1400},
        "vlan30": {"id": 30, "link": "eth1", "addresses": ["10.1.30.1/24"]},
    }


def test_their_frames_come_by_the_tap_of_the_nic_that_carries_them() -> None:
    lab = vlans()
    trunk, users = lab.hosts["pc"].interfaces
    tap = f'"{tap_name(trunk.mac)}"'
    table = spoofing_table(lab, "t")
    assert f"{tap} . {trunk.mac}" in table
    assert f"{tap} . {users.mac}" in table
    assert f"{tap} . 10.1.20.11" in table
    assert tap_name(users.mac) not in table
    assert [nic.name for host, nic in guarded(lab) if host.name == "pc"] == ["trunk", "users"]
