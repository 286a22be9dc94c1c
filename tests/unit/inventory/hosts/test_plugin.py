"""The Nornir inventory: groups, data, strict options, hosts without an address, a plain InitNornir."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from nornir.core.filter import F

from labrun.errors import HypervisorError
from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.locate import locate
from labrun.inventory.hosts.plugin import LabInventory, inventory_of
from labrun.inventory.model import Lab
from labrun.runner.engine.nornir import build_nornir
from labrun.state import LabState
from labrun.tasks.guest.transport import fresh_transport
from tests.loopback_sshd import LoopbackSshd, loopback_sshd
from tests.unit.inventory.hosts.test_locate import Leases

LAB = """\
name: small
hypervisor: test:///default
networks:
  net1: {mode: isolated, cidr: 10.4.1.0/24}
  net2: {mode: isolated, cidr: 10.4.2.0/24}
groups:
  web: {hosts: [host01, host02]}
hosts:
  host00: {role: router, networks: {net1: 10.4.1.254, net2: 10.4.2.254}}
  host01: {networks: {net1: 10.4.1.11}}
  host02: {networks: {net2: dhcp}}
  old: {address: 192.0.2.9, ssh: {user: me, port: 2022, identity: keys/id, known_hosts: /etc/known}}
  older: {address: box.example.org}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    return load_lab(tmp_path / "lab.yaml")


@pytest.fixture
def state(tmp_path: Path) -> LabState:
    return LabState.open("small", "test:///default", tmp_path / "state")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def existing(sshd: LoopbackSshd) -> str:
    """Return a lab file in which the sshd of loopback is an existing machine."""
    ssh = {
        "user": sshd.user,
        "port": sshd.port,
        "identity": str(sshd.state.identity),
        "known_hosts": str(sshd.state.known_hosts),
    }
    box = {"address": "127.0.0.1", "ssh": ssh}
    return f"name: loop\nhypervisor: test:///default\nhosts:\n  box: {json.dumps(box)}\n"


def test_groups_are_the_files_the_role_the_networks_and_the_lab(lab: Lab) -> None:
    inventory = inventory_of(lab, locate(lab, None), None)
    groups = {name: [group.name for group in host.groups] for name, host in inventory.hosts.items()}
    assert groups == {
        "host00": ["router", "net1", "net2", "small"],
        "host01": ["web", "host", "net1", "small"],
        "host02": ["web", "host", "net2", "small"],
        "old": ["host", "small"],
        "older": ["host", "small"],
    }
    assert set(inventory.groups) == {"router", "host", "web", "net1", "net2", "small"}
    nornir = build_nornir(inventory)
    assert list(nornir.filter(F(groups__contains="net2")).inventory.hosts) == ["host00", "host02"]


def test_a_host_that_labrun_makes_is_reached_strictly_with_the_labs_key(lab: Lab, state: LabState) -> None:
    host = inventory_of(lab, locate(lab, None), state).hosts["host01"]
    assert (host.hostname, host.port, host.username, host.platform) == ("10.4.1.11", 22, "lab", "linux")
    strict = {
        "ssh_strict": True,
        "key_file": str(state.identity),
        "alt_host_keys": True,
        "alt_key_file": str(state.known_hosts),
        "conn_timeout": 10,
        "banner_timeout": 30,
        "auth_timeout": 15,
        "keepalive": 15,
    }
    assert host.get_connection_parameters("labrun-ssh").extras == {**strict, "host_key_alias": "host01"}
    assert host.get_connection_parameters("netmiko").extras == {**strict, "ssh_config_file": None}


def test_an_existing_machine_is_reached_as_the_file_says(lab: Lab, state: LabState, tmp_path: Path) -> None:
    hosts = inventory_of(lab, locate(lab, None), state).hosts
    old, older = hosts["old"], hosts["older"]
    assert (old.hostname, old.port, old.username) == ("192.0.2.9", 2022, "me")
    extras = old.get_connection_parameters("labrun-ssh").extras
    assert extras is not None
    assert (extras["key_file"], extras["alt_key_file"]) == (str(tmp_path / "keys/id"), "/etc/known")
    assert extras.keys().isdisjoint({"allow_agent", "look_for_keys", "host_key_alias", "system_host_keys"})
    assert (older.hostname, older.port, older.username) == ("box.example.org", 22, None)
    extras = older.get_connection_parameters("labrun-ssh").extras
    assert extras is not None
    assert {
        key: extras.get(key) for key in ("allow_agent", "look_for_keys", "system_host_keys", "ssh_strict")
    } == {
        "allow_agent": True,
        "look_for_keys": True,
        "system_host_keys": True,
        "ssh_strict": True,
    }


def test_data_is_plain_and_says_where_addresses_come_from(lab: Lab) -> None:
    hosts = inventory_of(lab, locate(lab, None), None).hosts
    for host in hosts.values():
        assert json.loads(json.dumps(host.data)) == host.data
    data = hosts["host00"].data["labrun"]
    assert data["addresses"] == {"net1": "10.4.1.254", "net2": "10.4.2.254"}
    assert (data["lab"], data["role"], data["address_source"]) == ("small", "router", "file")
    assert list(data["macs"]) == data["networks"] == ["net1", "net2"]
    assert data["domain"] == "small-host00"
    assert hosts["old"].data["labrun"]["domain"] is None


def test_a_host_without_an_address_stays_and_says_why(lab: Lab) -> None:
    host = inventory_of(lab, locate(lab, Leases()), None).hosts["host02"]
    assert host.hostname is None
    assert host.data["labrun_unreachable"] == "no lease on net2"
    assert "labrun_unreachable" not in inventory_of(lab, locate(lab, None), None).hosts["host02"].data


def test_the_transport_follows_the_inventory(sshd: LoopbackSshd, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(existing(sshd), encoding="utf-8")
    inventory = LabInventory(tmp_path / "lab.yaml", state_dir=tmp_path / "state").load()
    with fresh_transport(inventory.hosts["box"]) as transport:
        assert transport.run("echo in", timeout=60).stdout == "in\n"


def test_the_file_is_found_from_the_current_directory(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert list(LabInventory(hypervisor="").load().hosts) == list(lab.hosts)


def test_a_hypervisor_that_is_not_there_is_named(lab: Lab, tmp_path: Path) -> None:
    plugin = LabInventory(tmp_path / "lab.yaml", hypervisor="qemu+unix:///system?socket=/nowhere")
    with pytest.raises(HypervisorError, match=r"cannot open qemu\+unix:///system\?socket=/nowhere"):
        plugin.load()


PLAIN = """
    from nornir import InitNornir
    from nornir_netmiko.tasks import netmiko_send_command

    nornir = InitNornir(
        inventory={"plugin": "labrun", "options": {"lab_file": LAB, "state_dir": STATE}},
        logging={"enabled": False},
    )
    result = nornir.run(netmiko_send_command, command_string="echo $((6 * 7))")
    nornir.close_connections()
    print({name: each.result.strip() for name, each in result.items()})
"""


def test_a_plain_init_nornir_uses_the_plugin_with_the_stock_netmiko_connection(
    sshd: LoopbackSshd, tmp_path: Path
) -> None:
    (tmp_path / "lab.yaml").write_text(existing(sshd), encoding="utf-8")
    script = (
        f"LAB = {str(tmp_path / 'lab.yaml')!r}\nSTATE = {str(tmp_path / 'state')!r}\n{textwrap.dedent(PLAIN)}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'box': '42'}\n"
