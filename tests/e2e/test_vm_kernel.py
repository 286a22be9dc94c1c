"""What takes a kernel of the guest's own: stacked devices, netem, a full connection table, a wrong clock."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from labrun.tasks.provision import nft
from labrun.tasks.provision.link_quality import NOTHING, quality_of_words
from labrun.tasks.provision.link_shaping import Shaped, read_links, set_link
from labrun.tasks.provision.nic_ends import NicEnd
from tests.e2e.conftest import write_lab
from tests.labs import Answer, RunningLab

pytestmark = [pytest.mark.vm, pytest.mark.full]

TEXT = """\
name: e2e-vmkernel
hypervisor: qemu:///system
defaults: {image: debian-12, memory: 384}
networks:
  net: {cidr: 10.215.1.0/24}
  two: {cidr: 10.215.2.0/24}
hosts:
  v: {role: router, networks: {net: 10.215.1.254, two: 10.215.2.254}}
  c1: {driver: lxc, memory: 256, networks: {net: 10.215.1.12}}
  c2: {driver: lxc, memory: 256, networks: {two: 10.215.2.12}}
"""
# Without KVM, and beside other tests.
SLOW = ("--timeout", "500")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A router that is a VM, between two containers; every test leaves it as it is declared."""
    made = write_lab(tmp_path_factory.mktemp("kernel"), TEXT)
    try:
        up = made.json(*SLOW, "up", "--configure")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.run("-y", "down")


def is_as_declared(lab: RunningLab) -> None:
    for command in ("verify", "configure", "drift"):
        answer = lab.json(*SLOW, command)
        assert answer.exit_code == 0, (command, answer.bad())
        assert answer.statuses() <= {"ok", "skipped"}, (command, answer.rows)


def inside(lab: RunningLab, script: str, host: str = "v") -> str:
    """Run a script as root without the network, on the VM through its agent; returns its output."""
    answer = lab.json(*SLOW, "exec", "--via", "agent", "--hosts", host, script)
    assert answer.exit_code == 0, answer.trouble()
    return str(answer.rows[0]["actual"])


@contextmanager
def done_to(lab: RunningLab, does: str, undoes: str, host: str = "v") -> Iterator[None]:
    inside(lab, does, host)
    try:
        yield
    finally:
        inside(lab, undoes, host)


def reasons(answer: Answer) -> list[str]:
    return sorted({row["why"] for row in answer.rows if row["why"]})


# What has the MAC of eth1, and what removes it. Frames go on reaching eth1 itself.
STACKED = {
    "vlan": (
        "ip link add link eth1 name over1 type vlan id 100; ip link set over1 up",
        "ip link delete over1",
    ),
    "macvlan": (
        "ip link add link eth1 name over1 type macvlan mode bridge; ip link set over1 up",
        "ip link delete over1",
    ),
    "macvlan with its MAC": (
        "ip link add link eth1 name over1 address $mac type macvlan mode bridge",
        "ip link delete over1",
    ),
    "bridge": ("ip link add over1 address $mac type bridge; ip link set over1 up", "ip link delete over1"),
    "bond": (
        """ip link add over1 type bond; ip link add port1 address $mac type dummy
        ip link set port1 master over1; ip link set over1 up""",
        "ip link delete over1; ip link delete port1",
    ),
}


@pytest.mark.parametrize("kind", STACKED)
def test_what_has_the_mac_of_a_nic_is_not_that_nic(lab: RunningLab, kind: str) -> None:
    makes, removes = STACKED[kind]
    makes = f"set -e; mac=$(cat /sys/class/net/eth1/address); {makes}"
    with done_to(lab, f"{makes}; ip address add 192.168.77.5/24 dev over1", removes):
        is_as_declared(lab)


def test_the_cause_of_a_fault_beside_a_vlan_is_named(lab: RunningLab) -> None:
    makes, removes = STACKED["vlan"]
    rule = (
        "nft add table inet shut; nft 'add chain inet shut here {type filter hook forward priority 0;}';"
        " nft add rule inet shut here iifname eth1 counter drop"
    )
    with done_to(lab, f"{makes}; {rule}", f"nft delete table inet shut; {removes}"):
        verified = lab.json(*SLOW, "verify")
    assert verified.exit_code == 1
    assert {row["section"] for row in verified.bad()} == {"path"}
    assert all(
        'v: nftables drops it: inet shut, chain here: iifname "eth1" drop' in each
        for each in reasons(verified)
    ), reasons(verified)
    is_as_declared(lab)


# The NIC belongs to it: its address counts for nothing any more.
OVER = {
    "bond": """ip link add over1 type bond mode active-backup; ip link set eth1 down
    ip link set eth1 master over1; ip link set over1 up""",
    "bridge": "ip link add over1 type bridge; ip link set eth1 master over1; ip link set over1 up",
}


# A bond leaves the NIC off, and NetworkManager takes 6 s to believe it.
NOTICED = """for second in $(seq 60); do
if ip -br link show dev eth1 | grep -q UP; then break; fi
if ! nmcli -g GENERAL.STATE device show eth1 | grep -q '^100'; then break; fi
sleep 1; done"""


@pytest.mark.parametrize("kind", OVER)
def test_a_nic_that_was_put_under_another_device_is_named_and_comes_back(lab: RunningLab, kind: str) -> None:
    with done_to(lab, f"set -e; {OVER[kind]}", "ip link delete over1 2>/dev/null; true"):
        verified = lab.json(*SLOW, "verify")
        (row,) = verified.of("address", "v", "two")
        assert (verified.exit_code, row["why"]) == (
            1,
            "eth1 is a port of over1: `ip link set dev eth1 nomaster`, then `labrun configure`",
        )
        whys = {row["why"] for row in verified.of("path") if row["status"] == "failed"}
        assert whys == {"v: eth1 (two) is a port of over1"}
        assert lab.json(*SLOW, "drift", "--hosts", "v").exit_code == 3
        inside(lab, f"ip link set dev eth1 nomaster; ip link delete over1; {NOTICED}")
        configured = lab.json(*SLOW, "configure")
        assert configured.exit_code == 0, configured.trouble()
    is_as_declared(lab)


def test_a_full_table_of_connections_is_named(lab: RunningLab) -> None:
    """With all connections assured, it drops whatever begins a new one, a login too."""
    serve = (
        "import socket, time; s = socket.create_server(('', 7000), backlog=100);"
        " kept = [s.accept() for _ in range(40)]; time.sleep(600)"
    )
    connect = (
        "import socket, time; kept = [socket.create_connection(('10.215.2.12', 7000), 60) for _ in '1' * 40];"
        " open('/run/filled', 'w').close(); time.sleep(600)"
    )
    watch = (
        "nft add table inet watch; nft 'add chain inet watch here {type filter hook forward priority 0;}';"
        " nft add rule inet watch here ct state new counter accept"
    )
    table = "/proc/sys/net/netfilter/nf_conntrack"
    most = inside(lab, f"{watch}; cat {table}_max").strip()
    try:
        for host, script in (("c2", serve), ("c1", connect)):
            lab.guest(host, f'systemd-run -q --unit filling python3 -c "{script}"')
        until = time.monotonic() + 120
        while "there" not in lab.guest("c1", "test -e /run/filled && echo there; true"):
            assert time.monotonic() < until
        with done_to(lab, f"echo 20 >{table}_max", f"echo {most} >{table}_max"):
            verified = lab.json(*SLOW, "verify")
    finally:
        for host in ("c1", "c2"):
            lab.guest(host, "systemctl stop filling; rm -f /run/filled")
        inside(lab, "nft delete table inet watch")
    assert verified.exit_code == 1
    full = re.compile(r"the table of connections is full: \d+ of 20 \(net\.netfilter\.nf_conntrack_max\)")
    assert all(full.search(row["why"] or "") for row in verified.bad()), verified.trouble()
    assert {(row["host"], row["status"]) for row in verified.of("ready")} == {("v", "unreachable")}
    assert {"c1 -> c2", "c2 -> c1", "c1 -> v"} <= {row["name"] for row in verified.bad()}
    is_as_declared(lab)


@pytest.mark.parametrize("years", [9, -9])
def test_a_clock_that_is_years_off_changes_no_answer(lab: RunningLab, years: int) -> None:
    def moved(by: int) -> str:
        return f"date -s @$(($(date +%s) + {by})) >/dev/null"

    by = years * 366 * 86400
    with done_to(lab, moved(by), moved(-by)):
        is_as_declared(lab)
        lab.guest("v", "sysctl -q net.ipv4.ip_forward=0")
        verified = lab.json(*SLOW, "verify")
        assert reasons(verified) == ["v: net.ipv4.ip_forward is 0"]
        drift = lab.run(*SLOW, "drift", "--hosts", "v")
        assert drift.exit_code == 3, drift.stdout + drift.stderr
        assert f"(its clock is 9 years {'ahead' if years > 0 else 'behind'})" in drift.stdout
        assert "sudo: " in drift.stdout
        assert "sysctl -q net.ipv4.ip_forward=0" in drift.stdout
        fixed = lab.json(*SLOW, "-y", "drift", "--fix")
        assert fixed.exit_code == 0, fixed.trouble()
        is_as_declared(lab)
    is_as_declared(lab)


LINKS = (
    "delay 40ms",
    "delay 40ms 5ms loss 5% rate 10mbit",
    "loss 0.5% duplicate 1% corrupt 0.1%",
    "delay 10us",
    "delay 999us",
    "loss 0.0001%",
    "delay 60s 2s",
    "rate 100gbit delay 1ms",
    "rate 8kbit delay 1ms",
    "rate 10mbit",
)


def test_netem_is_what_tc_was_told(lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands run in the VM, whose kernel has netem, at a tap such as those that libvirt makes."""

    def there(command: list[str], text: str = "") -> str:
        assert not text
        return lab.guest("v", " ".join(command))

    monkeypatch.setattr(nft, "run", there)
    nic = NicEnd("v", "net", "", "tap9")
    make = "ip tuntap add mode tap name tap9; tc qdisc replace dev tap9 root noqueue; ip link set tap9 up"
    with done_to(lab, make, "ip link delete tap9"):
        was = Shaped()
        for words in LINKS:
            wanted = quality_of_words(words.split())
            assert set_link(nic, wanted, was), words
            was = read_links()["tap9"]
            assert was.quality.is_about(wanted), (words, was)
            assert not was.foreign
            assert not set_link(nic, wanted, was), words
        assert set_link(nic, NOTHING, was)
        after = read_links()["tap9"]
        assert (after.quality, after.foreign) == (NOTHING, "")
        assert not set_link(nic, NOTHING, after)


def test_another_model_of_a_nic_is_there_after_the_next_start(lab: RunningLab) -> None:
    mac = inside(lab, "cat /sys/class/net/eth0/address").strip()
    text = TEXT.replace("net: 10.215.1.254", "net: {ipv4: 10.215.1.254, model: vmxnet3}")
    try:
        lab.path.write_text(text, encoding="utf-8")
        plan = lab.json("plan")
        assert plan.exit_code == 3
        assert plan.of("machine", "v")[0]["why"] == "from its next start on: nics"
        up = lab.json(*SLOW, "up")
        assert up.exit_code == 0, up.trouble()
        assert up.of("machine", "v")[0]["why"] == "from its next start on: nics"
        # What runs is as it was, and nothing is wrong with it.
        is_as_declared(lab)
        restart = lab.json(*SLOW, "restart", "--hosts", "v")
        assert restart.exit_code == 0, restart.trouble()
        assert lab.json("plan").exit_code == 0
        nic = f"$(dirname $(grep -l {mac} /sys/class/net/eth*/address))"
        assert inside(lab, f"basename $(readlink {nic}/device/driver)").strip() == "vmxnet3"
        is_as_declared(lab)
    finally:
        lab.path.write_text(TEXT, encoding="utf-8")
        assert lab.json(*SLOW, "up", "--no-wait").exit_code == 0
        assert lab.json(*SLOW, "restart", "--hosts", "v").exit_code == 0
    is_as_declared(lab)
