"""Keys that change nothing where they stand: every key of a host, a NIC and a network, in each context.

What the commands take from a lab is compared with and without the key. If it is the same, the key must be
named, otherwise it must not.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labrun.errors import LabFileError
from labrun.inventory.file.host_models import HostModel, SshModel
from labrun.inventory.file.load import load_lab
from labrun.inventory.file.network_models import NetworkModel, NicModel
from labrun.inventory.file.template_values import lab_values
from labrun.inventory.hosts.connections import access_of
from labrun.inventory.hosts.plugin import group_names
from labrun.inventory.model import Host, Lab
from labrun.inventory.topology.expectations import expectations
from labrun.tasks.configure.resources import host_spec
from labrun.tasks.provision.filters import filter_spec
from labrun.tasks.provision.forward_table import leading
from labrun.tasks.provision.networks import network_spec
from labrun.tasks.provision.specs import machine_spec
from labrun.tasks.provision.spoofing_table import guarded
from tests.unit.command_line import run_labrun

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
# A value of each key that differs from what holds without it, which depends on the context.
KEYS: dict[str, str] = {
    "image": "image: other",
    "memory": "memory: 300",
    "vcpus": "vcpus: 3",
    "disk": "disk: 33",
    "disks": "disks: [1]",
    "firmware": "firmware: uefi",
    "autostart": "autostart: true",
    "driver": "driver: qemu",
    "user": "user: ops",
    "role": "role: router",
    "gateway": "gateway: none",
    "routes": "routes: [{to: 10.9.0.0/16, via: gate}]",
    "sysctl": "sysctl: {vm.swappiness: 5}",
    "sshd": "sshd: {MaxAuthTries: 3}",
    "firewall": "firewall: {input: drop}",
    "nat": "nat: {masquerade: [n]}",
    "selinux": "selinux: permissive",
    "packages": "packages: [curl]",
    "files": "files: {/etc/motd: {content: hello}}",
    "services": "services: {cron: enabled}",
    "hosts_file": "hosts_file: false",
    "exclusive": "exclusive: true",
    "redundancy": "redundancy: pair",
    "guard": "guard: {last_resort: leave}",
    "ssh": "ssh: {port: 2022}",
    "hostname": "hostname: own",
    "ssh_keys": f"ssh_keys: [{KEY}]",
}
OTHERWISE = {
    "existing": {"hosts_file": "hosts_file: true", "guard": "guard: {last_resort: reboot}"},
    "virtual machine": {"driver": "driver: lxc"},
}
# The first two make the context; `access` is refused.
NOT_HERE = {"address", "networks", "access", "hypervisor"}
# No container can have these, and not to have them is no effect that could be left out.
REFUSED = {"disks": "has no disks of its own", "firmware": "has no firmware"}
NIC_KEYS = {
    "network": "network: n",
    "ipv4": "ipv4: 10.1.0.9",
    "ipv6": "ipv6: fd00:1::9",
    "mac": 'mac: "02:00:00:00:00:09"',
    "filter": "filter: web",
    "nmcli": "nmcli: {ipv4.route-metric: 50}",
    "spoofing": "spoofing: allow",
    "model": "model: e1000",
}
NETWORK_KEYS = {
    "cidr6": 'cidr6: "fd00:1::/64"',
    "dhcp": "dhcp: false",
    "domain": "domain: lab.test",
    "hypervisor_address": "hypervisor_address: 10.1.0.99",
    "mtu": "mtu: 1400",
    "autostart": "autostart: false",
    "dev": "dev: eth7",
    "bridge_name": "bridge_name: lab-n",
    "nat_ports": "nat_ports: [2000, 3000]",
    "dns": "dns: {printer.lab.test: 10.1.0.7}",
    "forward": "forward: [{port: 8080, to: 'x:80'}]",
}
EXISTING, CONTAINER, MACHINE, ANY = "existing", "container", "virtual machine", "any"
URIS = {EXISTING: "auto", CONTAINER: "lxc:///system", MACHINE: "qemu:///system", ANY: "auto"}
VMS_ONLY = {"disk"}


def taken(lab: Lab) -> Any:
    """Return what the commands take from a lab, but for its notices and digest."""
    lab = replace(lab, digest="")
    hosts = lab.hosts.values()
    return (
        [host_spec(lab, name) for name in lab.hosts],
        [made(lab, host) for host in hosts if host.machine is not None],
        [access_of(lab, host, None) for host in hosts],
        [group_names(lab, host) for host in hosts],
        [host.redundancy for host in hosts],
        [sorted(map(str, expectations(lab).routes(name))) for name in lab.hosts],
        expectations(lab).addresses,
        [path.way for path in expectations(lab).paths()],
        lab_values(lab),
        [network_spec(lab, net, lab.hypervisor).xml for net in lab.networks.values() if lab.needs_hypervisor],
        [filter_spec(lab, each) for each in lab.filters.values() if lab.needs_hypervisor],
        [nic for _, nic in guarded(lab)],
        [leading(lab, network) for network in lab.networks.values() if lab.needs_hypervisor],
    )


def made(lab: Lab, host: Host) -> dict[str, Any]:
    """Return what makes a machine; a container takes nothing from the keys that the docs keep for VMs."""
    assert host.machine is not None
    spec = machine_spec(lab, host)
    found = {name: getattr(spec, name) for name in spec.__slots__ if name != "digest"}
    driver = host.machine.driver or lab.hypervisor.partition(":")[0]
    if driver == "lxc":
        found = {name: value for name, value in found.items() if name not in VMS_ONLY}
    return {**found, "driver": driver, "logins": host.ssh_keys}


def lab_of(tmp_path: Path, context: str, key: str = "", nic: str = "", net: str = "") -> Lab:
    existing = context == EXISTING
    address = ["address: 192.0.2.7"] if existing else []
    role = ["role: router"] if key.startswith("nat") else []
    nics = ", ".join(part for part in ("ipv4: 10.1.0.11", nic) if part)
    if nic.startswith("ipv4"):
        nics = nic
    mine = ", ".join([*address, *role, f"networks: {{n: {{{nics}}}}}", *([key] if key else [])])
    gate = "address: 192.0.2.8, " if existing else ""
    networks = net or 'cidr: 10.1.0.0/24, cidr6: "fd00:1::/64"'
    text = f"""\
name: demo
hypervisor: {URIS[context]}
networks: {{n: {{{networks}}}}}
filters: {{web: [{{deny: out, proto: tcp, port: 80}}]}}
hosts:
  gate: {{{gate}role: router, networks: {{n: 10.1.0.254}}}}
  x: {{{mine}}}
"""
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    return load_lab(path)


def named(lab: Lab) -> set[str]:
    return {notice.path for notice in lab.notices if not notice.driver} - {"filters.web"}


@pytest.mark.parametrize("context", URIS)
@pytest.mark.parametrize("key", KEYS)
def test_a_host_s_key_is_named_exactly_if_it_changes_nothing(key: str, context: str, tmp_path: Path) -> None:
    if key in REFUSED and context == CONTAINER:
        with pytest.raises(LabFileError, match=f"x is a container, which {REFUSED[key]}"):
            lab_of(tmp_path, context, KEYS[key])
        return
    written = OTHERWISE.get(context, {}).get(key, KEYS[key])
    without = lab_of(tmp_path, context, "nat: {}" if key == "nat" else "")
    with_it = lab_of(tmp_path, context, written)
    same = taken(without) == taken(with_it)
    assert named(with_it) == ({f"hosts.x.{key}"} if same else set())


@pytest.mark.parametrize("context", URIS)
@pytest.mark.parametrize("key", NIC_KEYS)
def test_a_nic_s_key_is_named_exactly_if_it_changes_nothing(key: str, context: str, tmp_path: Path) -> None:
    if (key, context) == ("model", CONTAINER):
        with pytest.raises(LabFileError, match="x is a container, whose NICs have no model"):
            lab_of(tmp_path, context, nic=NIC_KEYS[key])
        return
    with_it = lab_of(tmp_path, context, nic=NIC_KEYS[key])
    same = taken(lab_of(tmp_path, context)) == taken(with_it)
    assert named(with_it) == ({f"hosts.x.networks.n.{key}"} if same else set())


@pytest.mark.parametrize("context", [EXISTING, ANY])
@pytest.mark.parametrize("key", NETWORK_KEYS)
def test_a_network_s_key_is_named_exactly_if_it_changes_nothing(
    key: str, context: str, tmp_path: Path
) -> None:
    base = "cidr: 10.1.0.0/24, mode: nat"
    with_it = lab_of(tmp_path, context, net=f"{base}, {NETWORK_KEYS[key]}")
    same = taken(lab_of(tmp_path, context, net=base)) == taken(with_it)
    assert named(with_it) == ({f"networks.n.{key}"} if same else set())


def test_the_sweeps_have_every_key_of_the_models() -> None:
    assert {*KEYS, *NOT_HERE} == set(HostModel.model_fields)
    # A NIC's VLAN is refused.
    assert {*NIC_KEYS, "vlan"} == set(NicModel.model_fields)
    # Every network of the sweep has the first two, only mode bridge has the third, and needs it, and a VLAN
    # has no other key.
    assert {*NETWORK_KEYS, "mode", "cidr", "bridge", "vlan"} == set(NetworkModel.model_fields)
    assert set(SshModel.model_fields) == {"user", "port", "identity", "known_hosts"}


MIXED = """\
name: demo
hypervisor: lxc:///system
defaults: {memory: 256, disk: 5, user: lab}
networks: {n: {mode: nat, cidr6: 'fd00:1::/64', nat_ports: [2000, 3000]}, m: {cidr: 10.1.0.0/24}}
filters: {web: [{deny: out, proto: tcp, port: 80}], used: [{deny: in}]}
groups: {none: {hosts: []}, old: {hosts: [d], memory: 300, ssh: {port: 2022}}}
hosts:
  a: {networks: {m: {ipv4: dhcp, filter: used}}, disk: 2, ssh: {user: a, port: 22, identity: k}}
  b:
    networks: {m: 10.1.0.12}
    driver: qemu
    vcpus: 2
    firewall: {ssh: false, allow: [{port: 80}, {from: m, to: m}]}
  c: {networks: {m: 10.1.0.13}, role: router, sysctl: {net.ipv4.conf.eth0.rp_filter: 1}}
  d: {address: 192.0.2.7, networks: {m: {ipv4: 10.1.0.14, filter: used}}, user: admin, driver: lxc}
"""
OF_MIXED = """\
lab.yaml:4: networks.n.nat_ports has no effect: it applies only to IPv4
lab.yaml:5: filters.web has no effect: no NIC has it
lab.yaml:6: groups.none has no effect: it has no hosts
lab.yaml:6: groups.old.memory has no effect: it applies only to machines that labrun creates
lab.yaml:8: hosts.a.disk has no effect: it applies only to VMs
lab.yaml:8: hosts.a.ssh.identity has no effect: labrun creates the keys of its machines itself
lab.yaml:8: hosts.a.ssh.user has no effect: the login of a machine that labrun creates is user
lab.yaml:13: hosts.b.firewall.allow[0] has no effect: input is accept, so this is accepted anyway
lab.yaml:13: hosts.b.firewall.allow[1] has no effect: forward is accept, so this is forwarded anyway
lab.yaml:13: hosts.b.firewall.ssh has no effect: input is accept, so sshd's ports stay open
lab.yaml:14: hosts.c.sysctl.net.ipv4.conf.eth0.rp_filter has no effect: \
net.ipv4.conf.all.rp_filter is 2, and the kernel uses the greater
lab.yaml:15: hosts.d.driver has no effect: it applies only to machines that labrun creates
lab.yaml:15: hosts.d.networks.m.filter has no effect: it applies only to machines that labrun creates
lab.yaml:15: hosts.d.user has no effect: the login of an existing machine is ssh: {user}
"""
ALL_EXISTING = """\
name: demo
hypervisor: qemu:///system
defaults: {memory: 256, user: lab}
networks:
  n: {mode: macvtap, dev: eth0, cidr: 10.1.0.0/24, autostart: false}
  r: {mode: nat, cidr: 10.2.0.0/24, dev: eth1, dhcp: false, dns: {a.b: 10.2.0.9}}
hosts: {d: {address: 192.0.2.7, networks: {n: 10.1.0.14}}}
"""
OF_ALL_EXISTING = """\
lab.yaml:2: hypervisor has no effect: every host is an existing machine
lab.yaml:3: defaults.memory has no effect: it applies only to machines that labrun creates
lab.yaml:3: defaults.user has no effect: the login of an existing machine is ssh: {user}
lab.yaml:5: networks.n.autostart has no effect: labrun creates no networks for existing machines
lab.yaml:6: networks.r.dev has no effect: labrun creates no networks for existing machines
lab.yaml:6: networks.r.dhcp has no effect: labrun creates no networks for existing machines
lab.yaml:6: networks.r.dns has no effect: labrun creates no networks for existing machines
"""


@pytest.mark.parametrize(("text", "said"), [(MIXED, OF_MIXED), (ALL_EXISTING, OF_ALL_EXISTING)])
def test_each_place_without_effect_is_named_once_and_the_file_is_valid(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "lab.yaml").write_text(text)
    done = run_labrun("--lab", "lab.yaml", "validate", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, said)
    document = json.loads(run_labrun("--lab", "lab.yaml", "--json", "validate", cwd=tmp_path).stdout)
    told = [
        f"lab.yaml:{each['line']}: {each['path']} has no effect: {each['why']}"
        for each in document["notices"]
    ]
    assert told == said.splitlines()


def test_what_containers_would_not_have_waits_for_the_hypervisor_that_is_chosen(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, ANY, "disk: 33")
    assert [(notice.path, notice.driver) for notice in lab.notices if notice.path.startswith("hosts")] == [
        ("hosts.x.disk", "lxc")
    ]
    done = run_labrun("--lab", str(tmp_path / "lab.yaml"), "validate", cwd=tmp_path)
    assert "hosts.x.disk" not in done.stderr


def test_what_a_container_cannot_have_is_an_error_where_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(
        "name: demo\nhypervisor: qemu:///system\nnetworks: {n: {cidr: 10.1.0.0/24}}\n"
        "defaults: {firmware: uefi}\nhosts:\n"
        "  a: {networks: {n: dhcp}, driver: lxc, disks: [1]}\n"
        "  b: {networks: {n: dhcp}, driver: lxc, firmware: bios, disks: []}\n"
        "  c: {networks: {n: dhcp}, disks: [1]}\n"
    )
    done = run_labrun("--lab", "lab.yaml", "validate", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        (
            "lab.yaml:4: defaults.firmware: a is a container, which has no firmware"
            " (`firmware: bios`, or driver: qemu)\n"
            "     4 | defaults: {firmware: uefi}\n"
            "       |                      ^^^^\n"
            "lab.yaml:6: hosts.a.disks: a is a container, which has no disks of its own"
            " (`disks: []`, or driver: qemu)\n"
            "     6 |   a: {networks: {n: dhcp}, driver: lxc, disks: [1]}\n"
            "       |                                         ^^^^^\n"
            "error: lab.yaml has 2 problems\n"
        ),
    )
