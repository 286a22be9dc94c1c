"""What other tools' files become: whole lab files, compared with recorded ones; and files that are wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from labrun.errors import LabFileError, UsageError
from labrun.inventory.file.load import lab_of, load_lab
from labrun.inventory.file.source import decode_source
from labrun.inventory.starting.importing import from_draft, from_file, is_uri
from labrun.inventory.starting.libvirt_xml import Described, read_libvirt
from tests import places

CASES = places.RECORDED / "starting"
SOURCES = {
    "containerlab": "racks.clab.yml",
    "netlab": "topology.yml",
    "vagrant": "Vagrantfile",
    "kathara": "lab.conf",
    "containerlab-frr": "srl-frr.clab.yml",
    "containerlab-bridge": "bridge.clab.yml",
    "netlab-groups": "topology.yml",
    "netlab-vlans": "topology.yml",
    "kathara-routes": "lab.conf",
    "kathara-ipv6": "lab.conf",
    "vagrant-loop": "Vagrantfile",
    "vagrant-hashes": "Vagrantfile",
    "vagrant-tables": "Vagrantfile",
    "vagrant-conditions": "Vagrantfile",
    "containerlab-clos": "clos.clab.yml",
    "containerlab-environment": "env.clab.yml",
    "netlab-dotted": "topology.yml",
    "vagrant-cluster": "Vagrantfile",
    "vagrant-words": "Vagrantfile",
    "kathara-files": "lab.conf",
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_file_becomes_the_recorded_lab(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES / case)
    imported = from_file(Path(SOURCES[case]), name="folder")
    recorded = CASES / case / "lab.yaml"
    if os.environ.get("LABRUN_RECORD"):
        recorded.write_text(imported.text, encoding="utf-8")
    assert imported.text == recorded.read_text(encoding="utf-8")
    lab = load_lab(recorded)
    assert lab.hosts
    # What the file lists in its comments is what is told.
    listed = [line.removeprefix("#   ") for line in imported.text.splitlines() if line.startswith("#   ")]
    assert listed == list(imported.left_out)


@pytest.mark.parametrize("case", SOURCES)
def test_a_folder_stands_for_its_only_file(case: str, tmp_path: Path) -> None:
    shutil.copytree(CASES / case, tmp_path / case, ignore=shutil.ignore_patterns("lab.yaml"))
    assert from_file(tmp_path / case, name="x").text.count("\nhosts:\n") == 1


DOMAIN = """\
<domain type='kvm'>
  <name>{name}</name><memory unit='KiB'>1048576</memory><vcpu placement='static'>2</vcpu>
  <devices>{nics}</devices>
</domain>"""
NETWORK_NIC = (
    "<interface type='network'><mac address='{mac}'/><source network='{network}'/>"
    "<target dev='{dev}'/></interface>"
)
OFFICE = """\
<network><name>office</name><forward mode='nat'/>
  <ip address='192.168.100.254' netmask='255.255.255.0'>
    <dhcp><range start='192.168.100.10' end='192.168.100.99'/>
      <host mac='52:54:00:00:00:01' ip='192.168.100.7'/></dhcp>
  </ip></network>"""
INNER = "<network><name>inner</name></network>"


def test_domains_of_libvirt_become_machines_on_networks_like_theirs() -> None:
    gate = (
        NETWORK_NIC.format(mac="52:54:00:00:00:01", network="office", dev="vnet0")
        + NETWORK_NIC.format(mac="52:54:00:00:00:02", network="inner", dev="vnet1")
        + "<interface type='bridge'><source bridge='br0'/></interface>"
        + "<interface type='user'/>"
    )
    lone = NETWORK_NIC.format(mac="52:54:00:00:00:03", network="inner", dev="vnet2")
    draft = read_libvirt(
        "qemu:///system",
        [
            Described("Gate 1", DOMAIN.format(name="Gate 1", nics=gate)),
            Described("lone", DOMAIN.format(name="lone", nics=lone)),
            Described("lab-one", DOMAIN.format(name="lab-one", nics=""), "lab"),
        ],
        [Described("office", OFFICE), Described("inner", INNER)],
    )
    imported = from_draft(draft, name="office")
    assert imported.text.split("\nname:", 1)[1] == (
        " office-lab\n"
        "\n"
        "networks:\n"
        "  # libvirt's network office\n"
        "  office: {mode: nat, cidr: 192.168.100.0/24, hypervisor_address: 192.168.100.254}\n"
        "  # libvirt's network inner\n"
        "  inner: {mode: very-isolated, cidr: 10.195.0.0/24}\n"
        "  # the bridge br0 of the hypervisor\n"
        "  bridge-br0: {mode: bridge, bridge: br0}\n"
        "\n"
        "hosts:\n"
        "  # the domain Gate 1\n"
        "  gate-1:\n"
        "    role: router\n"
        "    memory: 1024\n"
        "    vcpus: 2\n"
        "    networks:\n"
        "      office: 192.168.100.7    # vnet0\n"
        "      inner: 10.195.0.254    # vnet1\n"
        "      bridge-br0: dhcp\n"
        "  # the domain lone\n"
        "  lone:\n"
        "    memory: 1024\n"
        "    vcpus: 2\n"
        "    networks:\n"
        "      inner: 10.195.0.253    # vnet2\n"
    )
    assert imported.left_out == (
        "gate-1: a NIC of the kind user: has no counterpart",
        "domain lab-one: labrun made it for the lab lab",
        "disks and what is on them: the lab has new machines of labrun's image",
        "the networks themselves: `up` makes new ones, once those with the same subnets are gone",
    )


def test_what_a_lab_file_has_in_another_way_is_listed_of_domains() -> None:
    nic = (
        "<interface type='network'><source network='lan' portgroup='staff'/>"
        "<filterref filter='clean-traffic'/>"
        "<vlan><tag id='7'/></vlan></interface>"
    )
    lan = (
        "<network><name>lan</name><forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>"
        "<mtu size='1400'/><domain name='lan.test'/>"
        "<dns><host ip='10.66.0.2'><hostname>a</hostname></host></dns>"
        "<portgroup name='staff'/><ip address='10.66.0.1' prefix='24'/>"
        "<route address='10.67.0.0' prefix='16' gateway='10.66.0.2'/></network>"
    )
    bridge = "<interface type='bridge'><source bridge='br0'/><virtualport type='openvswitch'/></interface>"
    draft = read_libvirt(
        "qemu:///system",
        [Described("a", DOMAIN.format(name="a", nics=nic + bridge))],
        [Described("lan", lan)],
    )
    imported = from_draft(draft, name="x")
    assert "  lan: {mode: nat, cidr: 10.66.0.0/24, dhcp: false, mtu: 1400}\n" in imported.text
    assert imported.left_out[:3] == (
        "network lan: dns, domain, route, portgroup, forward ports: not read",
        "a: filterref, vlan, portgroup of the NIC on lan: not read",
        "a: virtualport of the NIC on bridge-br0: not read",
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.clab.yml", "topology: {nodes: {}}", "a.clab.yml:1: topology.nodes names no machine"),
        ("a.yml", "nodes: []", "a.yml:1: nodes names no machine"),
        ("a.yml", "services: {web: {image: x}}", "a.yml: has neither `topology` nor `nodes`"),
        ("a.yaml", "name: x\nhosts: {a: {}}", "a.yaml: is a lab file of labrun already"),
        (
            "lab.conf",
            "pc1[0]=A\nwhat is this\n",
            'lab.conf:2: "what is this" is not of the form MACHINE[KEY]=VALUE',
        ),
        ("lab.conf", "pc1[0]=A\npc1[0]=B\n", "lab.conf:2: pc1[0] is given twice"),
        ("lab.conf", "LAB_NAME=x\n", "lab.conf:1: names no machine"),
        (
            "Vagrantfile",
            "Vagrant.configure('2') do |config|\nend\n",
            "Vagrantfile:1: defines no machine and no network that can be read",
        ),
        ("notes.txt", "hello\n", "notes.txt: not a file that labrun can read"),
        ("main.tf", 'resource "libvirt_network" "x" {}\n', "main.tf: not a file that labrun can read"),
    ],
)
def test_what_is_not_understood_is_named(
    name: str, text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        from_file(Path(name), name="x")
    assert caught.value.reason == message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "topology: !!python/object:os.system {}\n",
            'a.yml:1: topology: the YAML tag "tag:yaml.org,2002:python/object:os.system" is not allowed',
        ),
        ("a: &a [1]\nb: [*c]\n", "a.yml:2: b[0]: no anchor &c comes before the alias *c"),
        ("topology: {nodes: {a: {}, }\n", "a.yml:1: a bracket is not closed"),
        (
            "x" * (1024 * 1024 + 1),
            "a.yml: the file is larger than 1 MiB (a lab file describes a lab, it is not for data)",
        ),
        ("\x00", "a.yml:1: the control character U+0000 is not allowed"),
    ],
)
def test_hostile_yaml_is_refused_by_the_reader_of_lab_files(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yml").write_text(text, encoding="utf-8")
    with pytest.raises(LabFileError) as caught:
        from_file(Path("a.yml"), name="x")
    assert caught.value.reason == message
    assert caught.value.exit_code == 2


def test_nothing_of_a_vagrantfile_is_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    (tmp_path / "Vagrantfile").write_text(
        "Vagrant.configure('2') do |config|\n"
        f"  `touch {witness}`\n"
        f"  system('touch {witness}')\n"
        "  config.vm.define 'web' do |w|\n"
        f"    w.vm.network 'private_network', ip: '10.1.1.5#{{`touch {witness}`}}'\n"
        "  end\nend\n",
        encoding="utf-8",
    )
    imported = from_file(tmp_path / "Vagrantfile", name="x")
    assert not witness.exists()
    assert any("does not compute" in line for line in imported.left_out)


def test_a_startup_file_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("ip addr add 10.3.3.3/24 dev eth0\n", encoding="utf-8")
    (tmp_path / "lab.conf").write_text("pc1[0]=A\npc2[0]=A\n", encoding="utf-8")
    (tmp_path / "pc1.startup").symlink_to("secret")
    assert "10.3.3.3" not in from_file(tmp_path / "lab.conf", name="x").text


def test_a_loop_without_end_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "Vagrantfile").write_text(
        "Vagrant.configure('2') do |config|\n"
        "  config.vm.define 'a'\n"
        '  (1..999999).each do |i|\n    config.vm.define "n#{i}"\n  end\n'
        + "(1..99).each do |i|\n" * 8
        + "config.vm.define 'b'\n"
        + "end\n" * 8
        + "end\n",
        encoding="utf-8",
    )
    imported = from_file(tmp_path / "Vagrantfile", name="x")
    assert any("a loop of more than 100 turns" in line for line in imported.left_out)


def test_a_uri_is_no_file() -> None:
    assert [is_uri(text) for text in ("qemu:///system", "qemu+ssh://a@b/system", "a.yml", "../x", "C:x")] == [
        *(True, True, False, False, False)
    ]


def test_comments_of_the_source_stay_comments(tmp_path: Path) -> None:
    (tmp_path / "a.clab.yml").write_text(
        'topology:\n  nodes:\n    "a\\nname: evil\\n#": {kind: "x\\nhosts: {}\\r\\u2028y"}\n    b: {}\n'
        '  links:\n    - endpoints: ["a\\nname: evil\\n#:e1", "b:e1"]\n',
        encoding="utf-8",
    )
    text = from_file(tmp_path / "a.clab.yml", name="x").text
    lab = lab_of(decode_source(text.encode(), "lab.yaml", str(tmp_path)))
    assert lab.name == "x"
    assert list(lab.hosts) == ["a-name-evil", "b"]


def test_a_router_gets_the_address_that_hosts_use_as_their_next_hop(tmp_path: Path) -> None:
    """The addresses of routers are often in configurations of their own, which labrun does not read."""
    (tmp_path / "ospf.clab.yml").write_text(
        """\
name: ospf
topology:
  groups:
    cores: {kind: frr, image: frr}
    desks: {kind: linux, image: tools}
  nodes:
    c1: {group: cores, startup-config: c1.conf}
    c2: {group: cores}
    d1:
      group: desks
      exec:
        - ip link set eth1 up
        - ip addr add 172.22.1.2/24 dev eth1
        - ip route add 172.22.0.0/16 via 172.22.1.1 dev eth1
    d2:
      group: desks
      exec: ["ip addr add 172.22.2.2/24 dev eth1", "ip route replace default via 172.22.2.1"]
  links:
    - endpoints: ["c1:eth1", "c2:eth1"]
    - endpoints: ["d1:eth1", "c1:eth2"]
    - endpoints: ["d2:eth1", "c2:eth2"]
""",
        encoding="utf-8",
    )
    imported = from_file(tmp_path / "ospf.clab.yml", name="x")
    lab = lab_of(decode_source(imported.text.encode(), "lab.yaml", str(tmp_path)))
    addresses = {
        name: [str(each) for nic in host.interfaces for each in nic.of(4)] for name, host in lab.hosts.items()
    }
    links = [addresses["c1"].pop(0), addresses["c2"].pop(0)]
    assert all(link.endswith("/31") for link in links)
    assert addresses == {
        "c1": ["172.22.1.1/24"],
        "c2": ["172.22.2.1/24"],
        "d1": ["172.22.1.2/24"],
        "d2": ["172.22.2.2/24"],
    }
    assert imported.left_out == ('line 7: c1: "startup-config": has no counterpart',)


def test_a_count_of_netlab_s_nodes_is_as_many_routers(tmp_path: Path) -> None:
    (tmp_path / "topology.yml").write_text("nodes: 3\nlinks: [x1-x2, x2-x3, x3]\n", encoding="utf-8")
    imported = from_file(tmp_path, name="three")
    lab = lab_of(decode_source(imported.text.encode(), "lab.yaml", str(tmp_path)))
    assert {name: host.role.value for name, host in lab.hosts.items()} == dict.fromkeys(
        ["x1", "x2", "x3"], "router"
    )
    assert [network.mode.value for network in lab.networks.values()] == [
        *("very-isolated", "very-isolated", "isolated")
    ]
    assert imported.left_out == ()
