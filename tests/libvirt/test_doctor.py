"""`labrun doctor` on a machine of its own: each condition is made true, and the printed remedy is typed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from labrun.tasks.doctor.catalogue import CHECKS
from labrun.tasks.provision.kernel_vlans import without_vlans
from tests.private_machine import HYPERVISOR, Doctor, PrivateMachine, private_machine

# What no test can change here: whether KVM works, and whether somebody keeps the clock.
GIVEN = ("kvm", "clock")
LAB = """\
name: doctor
hypervisor: lxc:///system
networks:
  out: {mode: nat, cidr: 10.91.1.0/24}
  wide: {mode: open, cidr: 10.91.2.0/24}
hosts:
  r: {role: router, networks: {out: 10.91.1.2, wide: 10.91.2.2}}
  a: {networks: {out: dhcp}}
"""
QUIET = LAB.replace("{mode: nat, cidr: 10.91.1.0/24}", "{mode: isolated, cidr: 10.91.1.0/24}").replace(
    "mode: open", "mode: isolated"
)


@pytest.fixture(scope="module")
def machine() -> Iterator[PrivateMachine]:
    with private_machine() as made:
        yield made


def listed(machine: PrivateMachine) -> str:
    """Return whatever a doctor could change."""
    virsh = "virsh -c qemu:///system"
    line = "nft list ruleset; ip route; ip -6 route; sysctl -a 2>/dev/null | grep -E 'forward|bridge-nf'; "
    line += f"{virsh} pool-list --all; {virsh} net-list --all; {virsh} list --all; "
    line += "find /var/lib/labrun /etc/libvirt"
    text = machine.run("sh", "-c", line, network=True).stdout
    return "\n".join(row for row in text.splitlines() if not row.startswith("\t\tcounter"))


def others(said: Doctor) -> list[str]:
    return [name for name in said.bad() if name not in GIVEN]


def test_a_machine_that_is_well_and_is_left_as_it_was(machine: PrivateMachine) -> None:
    before = listed(machine)
    for lab in (None, LAB):
        said = machine.doctor(lab)
        assert (others(said), said.exit_code, said.stderr) == ([], 0, "")
        assert said.finding("libvirt")["status"] == "ok"
        # Every check has said something, and the rows are those of the findings.
        names = [row["name"] for row in said.document["results"]]
        assert {check.name.split()[0] for check in CHECKS} <= {
            name.split()[0] for name in [*names, "subnets"]
        }
        assert {(row["host"], row["section"]) for row in said.document["results"]} == {
            ("hypervisor", "doctor")
        }
        assert names == [each["name"] for each in said.document["doctor"]]
    assert listed(machine) == before


@dataclass(frozen=True)
class Condition:
    """How a condition is made, what the doctor says of it, and how it is undone afterwards in any case.

    ``mend`` is None where its remedy cannot be typed here: a program that is not there, or a choice; ``told``
    is what it says then, if that matters.
    """

    made: str
    lab: str | None
    name: str
    status: str
    what: str
    mend: str | None
    undo: str
    matters: str = ""
    told: str = ""


_DOCKER = "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -N DOCKER; "
_DOCKER += "iptables -I FORWARD -j DOCKER-USER; iptables -P FORWARD DROP"
_NO_DOCKER = "iptables -D FORWARD -j DOCKER-USER; iptables -F DOCKER-USER; iptables -X DOCKER-USER; "
_NO_DOCKER += "iptables -X DOCKER; iptables -P FORWARD ACCEPT"
_NO_RULES = "iptables -P FORWARD ACCEPT; iptables -D FORWARD -i virbr+ -j ACCEPT; "
_NO_RULES += "iptables -D FORWARD -o virbr+ -j ACCEPT"
_NET = "<network><name>theirs</name><forward mode=\\'nat\\'/>"
_NET += "<ip address=\\'10.91.1.1\\' netmask=\\'255.255.255.0\\'/></network>"
_THEIRS = (
    f"echo '{_NET}'".replace("\\'", '"') + " >/run/net.xml; virsh -c qemu:///system net-create /run/net.xml"
)
_STRICT = (
    "nft 'table inet strict { chain forwarded { type filter hook forward priority 10; policy drop; }; }'"
)
_REJECTS = "nft 'table inet strict { chain forwarded { type filter hook forward priority 10; "
_REJECTS += "ct state established accept; reject; }; }'"
_FIREWALLD = "nft 'table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; "
_FIREWALLD += "ct state established accept; reject; }; }'"

CONDITIONS = {
    "no bridge": Condition(
        "true",
        "name: demo\nnetworks:\n  n: {mode: bridge, bridge: doc-br0}\nhosts:\n  a: {networks: {n: none}}\n",
        "bridge doc-br0",
        "failed",
        "this machine has no bridge doc-br0",
        None,  # it needs a NIC, and somebody who manages it
        "ip link add doc-br0 type bridge; ip link set doc-br0 up",
        "the network n needs it: `up` refuses the lab",
    ),
    "a bridge that is down": Condition(
        "ip link add doc-br1 type bridge",
        "name: demo\nnetworks:\n  n: {mode: bridge, bridge: doc-br1}\nhosts:\n  a: {networks: {n: none}}\n",
        "bridge doc-br1",
        "failed",
        "the bridge doc-br1 of this machine is down",
        "sudo ip link set doc-br1 up",
        "ip link set doc-br1 up",
        "the network n needs it: `up` refuses the lab",
    ),
    "no device": Condition(
        "true",
        "name: demo\nnetworks:\n  n: {mode: macvtap, dev: doc-eth0}\nhosts:\n  a: {networks: {n: none}}\n",
        "device doc-eth0",
        "failed",
        "this machine has no device doc-eth0",
        None,  # nobody knows which one was meant
        "ip link add doc-eth0 type veth peer name doc-eth1; ip link set doc-eth0 up",
        "the network n needs it: `up` refuses the lab",
    ),
    "a bridge that is none": Condition(
        "ip link add doc-no0 type veth peer name doc-no1; ip link set doc-no0 up",
        "name: demo\nnetworks:\n  n: {mode: bridge, bridge: doc-no0}\nhosts:\n  a: {networks: {n: none}}\n",
        "bridge doc-no0",
        "failed",
        "doc-no0 of this machine is not a bridge",
        None,  # nobody knows which one was meant
        "ip link del doc-no0; ip link add doc-no0 type bridge; ip link set doc-no0 up",
        "the network n needs it: `up` refuses the lab",
        "name a bridge in the lab file; `ip -br link show type bridge` lists them",
    ),
    "a device that is down": Condition(
        "ip link add doc-dn0 type veth peer name doc-dn1",
        "name: demo\nnetworks:\n  n: {mode: macvtap, dev: doc-dn0}\nhosts:\n  a: {networks: {n: none}}\n",
        "device doc-dn0",
        "failed",
        "the device doc-dn0 of this machine is down",
        "sudo ip link set doc-dn0 up",
        "ip link set doc-dn0 up",
        "the network n needs it: `up` refuses the lab",
    ),
    "no device for the way out": Condition(
        "true",
        "name: demo\nnetworks:\n  n: {mode: nat, dev: doc-wan0, cidr: 10.91.7.0/24}\n"
        "hosts:\n  a: {networks: {n: dhcp}}\n",
        "device doc-wan0",
        "failed",
        "this machine has no device doc-wan0",
        None,  # nobody knows which one was meant
        "ip link add doc-wan0 type veth peer name doc-wan1; ip link set doc-wan0 up",
        "the network n needs it: `up` refuses the lab",
        "set `dev` in the lab file to one that `ip -br link` lists",
    ),
    "FORWARD drops, an open network": Condition(
        "iptables -P FORWARD DROP",
        LAB,
        "firewall ip filter FORWARD",
        "failed",
        "iptables: the policy of FORWARD drops what bridges forward",
        "sudo iptables -I FORWARD -i 'virbr+' -j ACCEPT && sudo iptables -I FORWARD -o 'virbr+' -j ACCEPT",
        _NO_RULES,
        "guests of wide (open) cannot reach other networks",
    ),
    "FORWARD drops, nothing to forward": Condition(
        "iptables -P FORWARD DROP",
        QUIET,
        "firewall ip filter FORWARD",
        "warning",
        "iptables: the policy of FORWARD drops what bridges forward",
        "sudo iptables -I FORWARD -i 'virbr+' -j ACCEPT && sudo iptables -I FORWARD -o 'virbr+' -j ACCEPT",
        _NO_RULES,
        "open networks could not reach other networks; this lab has none",
    ),
    "the older iptables drops": Condition(
        "iptables-legacy -P FORWARD DROP",
        LAB,
        "firewall ip filter FORWARD (legacy)",
        "failed",
        "iptables-legacy: the policy of FORWARD drops what bridges forward",
        "sudo iptables-legacy -I FORWARD -i 'virbr+' -j ACCEPT && "
        "sudo iptables-legacy -I FORWARD -o 'virbr+' -j ACCEPT",
        "iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F FORWARD",
        "guests of out (nat), wide (open) cannot reach other networks",
    ),
    "the older ip6tables, with Docker": Condition(
        "ip6tables-legacy -N DOCKER-USER; ip6tables-legacy -A FORWARD -j DOCKER-USER; "
        "ip6tables-legacy -P FORWARD DROP",
        None,
        "firewall ip6 filter FORWARD (legacy)",
        "warning",
        "ip6tables-legacy: Docker's FORWARD policy drops what bridges forward",
        "sudo ip6tables-legacy -I DOCKER-USER -i 'virbr+' -j ACCEPT && "
        "sudo ip6tables-legacy -I DOCKER-USER -o 'virbr+' -j ACCEPT",
        "ip6tables-legacy -P FORWARD ACCEPT; ip6tables-legacy -F; ip6tables-legacy -X",
    ),
    "ip6tables drops": Condition(
        "ip6tables -P FORWARD DROP",
        None,
        "firewall ip6 filter FORWARD",
        "warning",
        "ip6tables: the policy of FORWARD drops what bridges forward",
        "sudo ip6tables -I FORWARD -i 'virbr+' -j ACCEPT && sudo ip6tables -I FORWARD -o 'virbr+' -j ACCEPT",
        "ip6tables -P FORWARD ACCEPT; ip6tables -D FORWARD -i virbr+ -j ACCEPT; "
        "ip6tables -D FORWARD -o virbr+ -j ACCEPT",
    ),
    "Docker": Condition(
        _DOCKER,
        LAB,
        "firewall ip filter FORWARD",
        "failed",
        "iptables: Docker's FORWARD policy drops what bridges forward",
        "sudo iptables -I DOCKER-USER -i 'virbr+' -j ACCEPT && "
        "sudo iptables -I DOCKER-USER -o 'virbr+' -j ACCEPT",
        _NO_DOCKER,
    ),
    "a table of nftables drops": Condition(
        _STRICT,
        LAB,
        "firewall inet strict forwarded",
        "failed",
        "nftables: the chain forwarded of table inet strict drops what bridges forward",
        "sudo nft insert rule inet strict forwarded iifname '\"virbr*\"' accept && "
        "sudo nft insert rule inet strict forwarded oifname '\"virbr*\"' accept",
        "nft delete table inet strict",
        "guests of out (nat), wide (open) cannot reach other networks",
    ),
    "a table of nftables rejects at the end": Condition(
        _REJECTS,
        None,
        "firewall inet strict forwarded",
        "warning",
        "nftables: the chain forwarded of table inet strict drops what bridges forward",
        "sudo nft insert rule inet strict forwarded iifname '\"virbr*\"' accept && "
        "sudo nft insert rule inet strict forwarded oifname '\"virbr*\"' accept",
        "nft delete table inet strict",
        "nat and route and open networks cannot reach other networks",
    ),
    "firewalld": Condition(
        _FIREWALLD,
        LAB,
        "firewall inet firewalld filter_FORWARD",
        "failed",
        "firewalld drops what bridges forward",
        None,
        "nft delete table inet firewalld",
    ),
    "bridges hand frames to iptables": Condition(
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
        None,
        "bridge-nf",
        "warning",
        "bridges pass their frames to iptables: bridge-nf-call-iptables is 1",
        "sudo sysctl -w net.bridge.bridge-nf-call-iptables=0",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
    ),
    "bridges hand frames to iptables, a router on a nat network": Condition(
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1",
        LAB,
        "bridge-nf",
        "failed",
        "bridges pass their frames to iptables: bridge-nf-call-iptables, bridge-nf-call-ip6tables are 1",
        "sudo sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0",
        "what guests of one network send each other passes this machine's filter and masquerading: "
        "what others on its nat network send through r gets no answer",
    ),
    "no forwarding": Condition(
        f"{_THEIRS}; sysctl -qw net.ipv4.ip_forward=0",
        None,
        "forwarding IPv4",
        "failed",
        "this machine does not forward IPv4: net.ipv4.ip_forward is 0",
        "sudo sysctl -w net.ipv4.ip_forward=1",
        "virsh -c qemu:///system net-destroy theirs; sysctl -qw net.ipv4.ip_forward=0",
        "guests of theirs reach nothing beyond it",
    ),
    "a route overlaps": Condition(
        "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; "
        "ip address add 10.3.0.1/24 dev d0; ip route add 10.91.0.0/16 via 10.3.0.2 dev d0; "
        "ip route add 10.91.1.128/25 via 10.3.0.2 dev d0",
        QUIET,
        "subnet out",
        "failed",
        "10.91.1.0/24 of out overlaps with this machine's route to 10.91.1.128/25 via 10.3.0.2 dev d0",
        "set `cidr` of out in the lab file to 10.64.0.0/24, or: "
        "sudo ip route del 10.91.1.128/25 via 10.3.0.2 dev d0",
        "ip link del d0",
    ),
    "another network overlaps": Condition(
        _THEIRS,
        LAB,
        "subnet out",
        "failed",
        "10.91.1.0/24 of out overlaps with the network theirs here",
        "set `cidr` of out in the lab file to 10.64.0.0/24, or: virsh -c lxc:///system net-destroy theirs",
        "virsh -c qemu:///system net-destroy theirs; sysctl -qw net.ipv4.ip_forward=0",
    ),
}


# Each of these has another of its kind among the others.
_FURTHER = (
    "FORWARD drops, nothing to forward",
    "the older ip6tables, with Docker",
    "ip6tables drops",
    "a table of nftables rejects at the end",
    "bridges hand frames to iptables",
    "a bridge that is down",
    "a bridge that is none",
    "a device that is down",
    "no device for the way out",
    "the older iptables drops",
    "another network overlaps",
    "FORWARD drops, an open network",
    "bridges hand frames to iptables, a router on a nat network",
    "a table of nftables drops",
    "a route overlaps",
    "firewalld",
    "no device",
)


@pytest.mark.parametrize(
    "case", [pytest.param(each, marks=pytest.mark.full if each in _FURTHER else ()) for each in CONDITIONS]
)
def test_a_condition_is_found_and_its_remedy_mends_it(machine: PrivateMachine, case: str) -> None:
    condition = CONDITIONS[case]
    try:
        machine.type(condition.made)
        said = machine.doctor(condition.lab)
        finding = said.finding(condition.name)
        assert (finding["status"], finding["what"]) == (condition.status, condition.what)
        assert finding["matters"] == (condition.matters or finding["matters"])
        assert said.exit_code == (1 if condition.status == "failed" else 0)
        assert finding["mend"] == (condition.told or finding["mend"])
        if condition.mend is None:
            return
        assert finding["mend"] == condition.mend
        machine.type(finding["mend"].rpartition("or: ")[2])
        mended = machine.doctor(condition.lab)
        assert condition.name not in mended.bad()
    finally:
        machine.run("sh", "-c", condition.undo, network=True, check=False)


@pytest.mark.full
def test_a_container_on_a_vlan_needs_it_in_this_kernel(machine: PrivateMachine) -> None:
    if not without_vlans():
        pytest.skip("this kernel has 802.1Q")
    text = QUIET.replace(
        "networks:\n", "networks:\n  tagged: {cidr: 10.91.3.0/24, vlan: {on: out, id: 3}}\n", 1
    )
    said = machine.doctor(text.replace("{out: dhcp}", "{out: dhcp, tagged: 10.91.3.9}"))
    finding = said.finding("vlans")
    assert (finding["status"], finding["what"]) == ("failed", "this machine's kernel has no 802.1Q")
    assert finding["matters"] == "a cannot be on a VLAN as containers: `up` refuses the lab"
    assert finding["mend"] == "sudo modprobe 8021q, or driver: qemu in the lab"
    # Its second half mends it here. Neither is anything wrong where no container is on a VLAN.
    tagged = text.replace("{out: dhcp}", "{out: dhcp, tagged: 10.91.3.9}")
    as_vms = tagged.replace(
        "hypervisor: lxc:///system\n", "hypervisor: lxc:///system\ndefaults: {driver: qemu}\n"
    )
    for well in (text, as_vms):
        finding = machine.doctor(well).finding("vlans")
        assert finding["status"] == "ok"
        no_need = "this machine's kernel has no 802.1Q, which no container here needs; VMs have their own"
        assert finding["what"] == no_need


def many(count: int, image: str = "debian-12", **keys: int) -> str:
    """Return a lab of so many hosts."""
    extra = "".join(f", {key}: {value}" for key, value in keys.items())
    hosts = "".join(f"  h{n}: {{networks: {{n: dhcp}}{extra}}}\n" for n in range(count))
    head = "name: doctor\nhypervisor: lxc:///system\nnetworks: {n: {mode: isolated, cidr: 10.91.0.0/22}}\n"
    return f"{head}defaults: {{image: {image}}}\nhosts:\n{hosts}"


@contextlib.contextmanager
def lowered(key: str, value: int) -> Iterator[None]:
    """Lower a limit of the whole kernel inside the block, to what leaves other tests room."""
    file = Path("/proc/sys", *key.split("."))
    before = file.read_text()
    file.write_text(str(value))
    try:
        yield
    finally:
        file.write_text(before)


@pytest.mark.full
def test_inotify_instances_run_out(machine: PrivateMachine) -> None:
    free = int(machine.doctor(many(1)).finding("inotify")["what"].split("(")[1].split()[0])
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    # 60 containers take 540, and others here still find 300.
    with lowered("fs.inotify.max_user_instances", limit - free + 300):
        said = machine.doctor(many(60))
        finding = said.finding("inotify")
        assert (said.exit_code, finding["status"]) == (1, "failed")
        assert (
            "inotify instances are free, and the 60 containers of doctor that are not running yet"
            in finding["what"]
        )
        assert machine.doctor(many(3)).finding("inotify")["status"] == "ok"
        assert finding["mend"].startswith("sudo sysctl -w fs.inotify.max_user_instances=")
        machine.type(finding["mend"])
        assert machine.doctor(many(60)).finding("inotify")["status"] == "ok"


@pytest.mark.full
def test_kernel_keys_run_out(machine: PrivateMachine) -> None:
    with lowered("kernel.keys.maxkeys", 200):
        said = machine.doctor(many(60))
        finding = said.finding("keys maxkeys")
        assert (said.exit_code, finding["status"]) == (1, "failed")
        assert (
            "of 200 kernel keys left; the 60 containers of doctor that are not running yet take 240"
            in finding["what"]
        )
        assert finding["mend"] == "sudo sysctl -w kernel.keys.maxkeys=20000"
        machine.type(finding["mend"])
        assert machine.doctor(many(60)).finding("keys")["status"] == "ok"


@pytest.mark.full
def test_memory_and_space_run_out(machine: PrivateMachine) -> None:
    big = many(3, memory=100_000).replace("lxc:///system", "qemu:///system")
    finding = machine.doctor(big).finding("memory")
    assert finding["status"] == "failed"
    assert finding["what"].endswith("and the machines that are not running yet take about 300600")
    machine.run("mkdir", "-p", "/var/lib/labrun/labs")
    machine.run("mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", "/var/lib/labrun/labs")
    try:
        finding = machine.doctor(many(3)).finding("space /var/lib/labrun/labs")
        assert finding["status"] == "failed"
        assert finding["what"] == "0.2 GiB are free in /var/lib/labrun/labs, and containers here may take 1.3"
    finally:
        machine.run("umount", "/var/lib/labrun/labs")
    assert others(machine.doctor(many(3))) == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("program", "name", "status", "package"),
    [
        ("dnsmasq", "dnsmasq", "failed", "dnsmasq-base"),
        ("mmdebstrap", "image tools", "failed", "mmdebstrap"),
        ("ssh", "programs", "warning", "openssh-client"),
    ],
)
def test_a_program_is_missing(
    machine: PrivateMachine, program: str, name: str, status: str, package: str
) -> None:
    path = machine.run("sh", "-c", f"readlink -f $(command -v {program})").stdout.strip()
    machine.run("mount", "--bind", "/dev/null", path)
    try:
        said = machine.doctor(many(1, image="nowhere-1"))
    finally:
        machine.run("umount", path)
    finding = said.finding(name)
    assert (finding["status"], program in finding["what"]) == (status, True)
    apt = machine.run("sh", "-c", "command -v apt-get", check=False).returncode == 0
    assert finding["mend"].startswith(f"sudo apt-get install {package}" if apt else "sudo dnf")
    assert others(machine.doctor(many(1, image="nowhere-1"))) == []


@pytest.mark.full
def test_another_dns_server_holds_the_port_on_every_address(machine: PrivateMachine) -> None:
    holds = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 53)); "
    holds += "print('x', flush=True); time.sleep(100)"
    inside = ["nsenter", "-t", str(machine.pid), "-m", "--", HYPERVISOR, "enter", sys.executable, "-c", holds]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "x\n"
        finding = machine.doctor(LAB).finding("dnsmasq")
        server.kill()
    assert finding["status"] == "failed"
    assert finding["what"].startswith("python")
    assert finding["what"].endswith(f"(pid {server.pid}) holds port 53 on every address")
    assert others(machine.doctor(LAB)) == []


def test_libvirt_that_cannot_be_reached(machine: PrivateMachine) -> None:
    env = {"LABRUN_HYPERVISOR": "qemu+unix:///system?socket=/nowhere"}
    said = machine.doctor(None, env=env)
    finding = said.finding("libvirt")
    assert (said.exit_code, finding["status"]) == (5, "failed")
    assert finding["what"].startswith(
        "cannot open qemu+unix:///system?socket=/nowhere: Failed to connect socket"
    )
    assert finding["mend"] == (
        "is libvirtd running? `virsh -c 'qemu+unix:///system?socket=/nowhere' list` must work"
    )
    # The rest is looked at all the same.
    assert said.finding("inotify")["status"] == "ok"


def test_an_invalid_lab_file_is_reported_as_such(machine: PrivateMachine) -> None:
    (machine.folder / "bad.yaml").write_text("name: doctor\nnetworks: 3\n")
    labrun = [sys.executable, "-m", "labrun", "--lab", "bad.yaml", "doctor"]
    done = machine.run(*labrun, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "bad.yaml:2: networks: " in done.stderr


@pytest.mark.skipif(not os.access("/etc/group", os.W_OK), reason="needs a private /etc")
def test_a_user_who_is_not_in_the_group(machine: PrivateMachine) -> None:
    # An /etc of the test's own, which libvirtd's namespace does not have: the command is typed outside.
    machine.run(
        "sh", "-c", "mkdir -p /run/etc && mount -t tmpfs tmpfs /run/etc && mkdir /run/etc/up /run/etc/work"
    )
    machine.run(
        "mount",
        "-t",
        "overlay",
        "-o",
        "lowerdir=/etc,upperdir=/run/etc/up,workdir=/run/etc/work",
        "etc",
        "/etc",
    )
    labrun = f"HOME=/run/etc/home {sys.executable} -m labrun --state-dir /run/etc/home/state --json doctor"
    # It may read this Python and its packages, wherever they are.
    caps = "--inh-caps +dac_read_search --ambient-caps +dac_read_search"
    line = f"cd / && setpriv --reuid nobody --regid nogroup --init-groups {caps} sh -c '{labrun}'"
    try:
        machine.run("sh", "-c", "mkdir /run/etc/home && chown nobody /run/etc/home && chmod 755 /run/etc")
        before = machine.said(machine.run("sh", "-c", line, check=False))
        finding = before.finding("rights")
        assert (finding["status"], finding["what"]) == ("failed", "nobody is not in the group libvirt")
        assert finding["mend"] == "sudo usermod -aG libvirt nobody, then log in again"
        machine.run("sh", "-c", finding["mend"].partition(",")[0].replace("sudo ", ""))
        after = machine.said(machine.run("sh", "-c", line, check=False))
        assert after.finding("rights")["what"] == "nobody is in the group libvirt: VMs, and no containers"
        assert after.finding("firewall")["status"] == "skipped"
    finally:
        machine.run("umount", "/etc")
