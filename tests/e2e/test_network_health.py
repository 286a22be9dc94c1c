"""A network broken beside libvirt: plan and drift see it, up mends it, and nobody on it is cut off."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

URI = "lxc:///system"
LAB = "e2e-health"
TEXT = f"""\
name: {LAB}
hypervisor: {URI}
defaults: {{image: debian-12, memory: 256}}
networks: {{n: {{mode: nat, cidr: 10.164.1.0/24, cidr6: "fd00:164:1::/64"}}}}
hosts: {{a: {{networks: {{n: 10.164.1.10}}}}, b: {{networks: {{n: dhcp}}}}}}
"""
# Somebody else's container on the lab's network: it answers pings, and knows nothing of labrun.
FOREIGN = f"""\
<domain type='lxc'><name>e2e-health-of-others</name><memory unit='MiB'>64</memory>
<os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg>
<initarg>ip link set eth0 up; ip addr add 10.164.1.99/24 dev eth0; exec sleep 1000</initarg></os><devices>
<filesystem type='mount'><source dir='/'/><target dir='/'/><readonly/></filesystem>
<interface type='network'><source network='{LAB}-n'/><mac address='52:54:00:10:20:99'/></interface>
<console type='pty'/></devices></domain>
"""


@pytest.fixture(scope="module")
def libvirtd(hypervisor: None) -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open(URI)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def lab(libvirtd: libvirt.virConnect, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    lab = write_lab(tmp_path_factory.mktemp("health"), TEXT)
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.bad() or up.stderr
        libvirtd.createXML(FOREIGN)
        yield lab
    finally:
        for guest in libvirtd.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT):
            if guest.name() == "e2e-health-of-others":
                guest.destroy()
        down = lab.run("-y", "down")
    assert down.exit_code == 0, down.stdout + down.stderr


def beside(*words: str) -> str:
    """Run a command in the network of libvirtd."""
    command = ["nsenter", "-t", str(daemon_pid(URI)), "-n", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def is_reached(address: str) -> bool:
    command = ["nsenter", "-t", str(daemon_pid(URI)), "-n", "ping", "-c", "1", "-W", "3", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def bridge(connection: libvirt.virConnect) -> str:
    return str(connection.networkLookupByName(f"{LAB}-n").bridgeName())


def dnsmasq() -> int:
    return int(Path(f"/run/libvirt/network/{LAB}-n.pid").read_text())


def tap(connection: libvirt.virConnect) -> str:
    found = re.search("<target dev='(.*?)'", connection.lookupByName(f"{LAB}-a").XMLDesc(0))
    assert found
    return found[1]


def chains_gone(_connection: libvirt.virConnect) -> None:
    beside("iptables", "-F")
    beside("iptables", "-X")


def undefined(connection: libvirt.virConnect) -> None:
    network = connection.networkLookupByName(f"{LAB}-n")
    network.destroy()


NET = ("network", "n")
A = ("machine", "a")
BREAKAGE: dict[str, tuple[Callable[[libvirt.virConnect], object], tuple[str, str], str]] = {
    "dnsmasq killed": (lambda _: os.kill(dnsmasq(), signal.SIGKILL), NET, "- dnsmasq: not running"),
    "dnsmasq stopped": (lambda _: os.kill(dnsmasq(), signal.SIGSTOP), NET, "- dnsmasq: stopped"),
    "bridge gone": (lambda its: beside("ip", "link", "del", bridge(its)), NET, r"- device: virbr\d+ is gone"),
    "bridge down": (
        lambda its: beside("ip", "link", "set", bridge(its), "down"),
        NET,
        r"- device: virbr\d+ is down",
    ),
    "bridge without address": (
        lambda its: beside("ip", "addr", "del", "10.164.1.1/24", "dev", bridge(its)),
        NET,
        r"- device: virbr\d+ without 10\.164\.1\.1/24",
    ),
    "rules flushed": (
        lambda _: beside("iptables", "-F"),
        NET,
        r"- firewall: without the rules of virbr\d+, the jumps to libvirt's chains in filter",
    ),
    "masquerading flushed": (
        lambda _: beside("iptables", "-t", "nat", "-F", "LIBVIRT_PRT"),
        NET,
        r"- firewall: without the masquerading of 10\.164\.1\.0/24",
    ),
    "IPv6 rules flushed": (
        lambda _: beside("ip6tables", "-F", "FORWARD"),
        NET,
        r"- firewall: without the jumps to libvirt's chains in filter \(IPv6\)",
    ),
    "chains gone": (
        chains_gone,
        NET,
        r"- firewall: without the rules of virbr\d+, the jumps to libvirt's chains in filter",
    ),
    "network stopped": (undefined, NET, r"- active: no"),
    "autostart off": (
        lambda its: its.networkLookupByName(f"{LAB}-n").setAutostart(0),
        NET,
        "- autostart: no",
    ),
    "tap out of the bridge": (
        lambda its: beside("ip", "link", "set", tap(its), "nomaster"),
        A,
        r"\+ nics: [0-9a-f:]{17}@e2e-health-n",
    ),
}


@pytest.mark.parametrize("kind", BREAKAGE)
def test_what_is_broken_beside_libvirt_is_seen_and_mended(
    lab: RunningLab, libvirtd: libvirt.virConnect, kind: str
) -> None:
    plant, (section, name), diff = BREAKAGE[kind]
    before = {domain.name(): domain.ID() for domain in libvirtd.listAllDomains()}
    plant(libvirtd)
    plan = lab.json("plan")
    assert plan.exit_code == 3, plan.rows
    assert re.match(diff, plan.of(section, name=name)[0]["diff"]), plan.of(section, name=name)
    assert lab.json("drift").of(section, name=name)[0]["status"] == "drifted"
    up = lab.json("up")
    assert up.exit_code == 0, up.bad()
    assert up.of(section, name=name)[0]["status"] == "changed"
    assert lab.json("plan").exit_code == 0
    assert lab.json("up").statuses() == {"ok"}
    assert [address for address in ("10.164.1.10", "10.164.1.99") if not is_reached(address)] == []
    assert {domain.name(): domain.ID() for domain in libvirtd.listAllDomains()} == before


@pytest.mark.parametrize(
    ("change", "own", "cure"),
    [
        (("mode: nat", "mode: nat, domain: lab.example"), "", ""),
        (("10.164.1.", "10.164.2."), "b, ", "name b in --hosts as well, "),
    ],
)
def test_a_changed_network_waits_for_guests_of_others_and_names_them(
    lab: RunningLab, change: tuple[str, str], own: str, cure: str
) -> None:
    """A subnet also waits for hosts that are not part of the run: they would keep their addresses."""
    lab.path.write_text(TEXT.replace(*change), encoding="utf-8")
    why = (
        f"it has to be started anew, which would cut off {own}e2e-health-of-others (not this lab's):"
        f" {cure}stop or unplug e2e-health-of-others, then `labrun up`"
    )
    for words in (("plan", "--hosts", "a"), ("up", "--no-wait", "--hosts", "a")):
        answer = lab.json(*words)
        assert answer.exit_code == 3
        row = answer.of("network", name="n")[0]
        assert (row["status"], row["why"]) == ("pending", why)
    lab.path.write_text(TEXT, encoding="utf-8")
    assert lab.json("plan").exit_code == 0


def test_a_changed_network_is_started_anew_under_the_labs_own_guests(
    lab: RunningLab, libvirtd: libvirt.virConnect
) -> None:
    """A domain name cannot be changed in a running network; a session through it survives the restart."""
    libvirtd.lookupByName("e2e-health-of-others").destroy()
    command = lab.arguments("ssh", "a", "echo begun; read word; echo $word")
    with subprocess.Popen(
        command, env=lab.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdin
        assert session.stdout
        assert session.stdout.readline() == "begun\n"
        lab.path.write_text(TEXT.replace("mode: nat", "mode: nat, domain: lab.example"), encoding="utf-8")
        up = lab.json("up")
        assert up.exit_code == 0, up.bad()
        assert up.of("network", name="n")[0]["actual"] == "started anew"
        session.stdin.write("still here\n")
        session.stdin.close()
        assert session.stdout.readline() == "still here\n"
    assert lab.json("up").statuses() == {"ok"}
