"""A network broken beside libvirt: plan and drift see it, up mends it, and nobody on it is cut off.

The machine is one of the module's own: who flushes its firewall would break the networks of other labs.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab
from tests.private_machine import PrivateMachine, private_machine

URI = "lxc:///system"
LAB = "e2e-health"
OTHERS = "e2e-health-of-others"
TEXT = f"""\
name: {LAB}
hypervisor: {URI}
defaults: {{image: debian-12, memory: 256}}
networks: {{n: {{mode: nat, cidr: 10.164.1.0/24, cidr6: "fd00:164:1::/64"}}}}
hosts: {{a: {{networks: {{n: 10.164.1.10}}}}, b: {{networks: {{n: dhcp}}}}}}
"""
# Somebody else's container on the lab's network: it answers pings, and knows nothing of labrun.
FOREIGN = f"""\
<domain type='lxc'><name>{OTHERS}</name><memory unit='MiB'>64</memory>
<os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg>
<initarg>ip link set eth0 up; ip addr add 10.164.1.99/24 dev eth0; exec sleep 1000</initarg></os><devices>
<filesystem type='mount'><source dir='/'/><target dir='/'/><readonly/></filesystem>
<interface type='network'><source network='{LAB}-n'/><mac address='52:54:00:10:20:99'/></interface>
<console type='pty'/></devices></domain>
"""


@dataclass
class LabThere(RunningLab):
    """A lab whose commands run on another machine."""

    machine: PrivateMachine | None = None

    def arguments(self, *words: str) -> list[str]:
        assert self.machine is not None
        return ["nsenter", "-t", str(self.machine.pid), "-m", "--", *super().arguments(*words)]


@pytest.fixture(scope="module")
def machine() -> Iterator[PrivateMachine]:
    with private_machine(with_images=True) as made:
        yield made


@pytest.fixture(scope="module")
def lab(machine: PrivateMachine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("health"), TEXT)
    lab = LabThere(made.path, made.state, machine=machine)
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    (machine.folder / "others.xml").write_text(FOREIGN, encoding="utf-8")
    virsh(machine, "create", "others.xml")
    yield lab
    machine.run("virsh", "-c", URI, "destroy", OTHERS, check=False)
    down = lab.run("-y", "down")
    assert down.exit_code == 0, down.stdout + down.stderr


def virsh(machine: PrivateMachine, *words: str) -> str:
    return machine.run("virsh", "-q", "-c", URI, *words).stdout.strip()


def beside(machine: PrivateMachine, *words: str) -> str:
    """Run a command in the network of libvirtd."""
    return machine.run(*words, network=True).stdout


def is_reached(machine: PrivateMachine, address: str) -> bool:
    ping = ("ping", "-c", "1", "-W", "3", address)
    return machine.run(*ping, network=True, check=False).returncode == 0


def bridge(machine: PrivateMachine) -> str:
    found = re.search(r"Bridge: +(\S+)", virsh(machine, "net-info", f"{LAB}-n"))
    assert found
    return found[1]


def dnsmasq(machine: PrivateMachine) -> int:
    return int(machine.run("cat", f"/run/libvirt/network/{LAB}-n.pid").stdout)


def tap(machine: PrivateMachine) -> str:
    found = re.search("<target dev='(.*?)'", virsh(machine, "dumpxml", f"{LAB}-a"))
    assert found
    return found[1]


def running(machine: PrivateMachine) -> str:
    """Return the names of all that run with their PIDs: whoever is started anew has another one."""
    return virsh(machine, "list")


def chains_gone(machine: PrivateMachine) -> None:
    beside(machine, "iptables", "-F")
    beside(machine, "iptables", "-X")


NET = ("network", "n")
A = ("machine", "a")
BREAKAGE: dict[str, tuple[Callable[[PrivateMachine], object], tuple[str, str], str]] = {
    "dnsmasq killed": (lambda its: os.kill(dnsmasq(its), signal.SIGKILL), NET, "- dnsmasq: not running"),
    "dnsmasq stopped": (lambda its: os.kill(dnsmasq(its), signal.SIGSTOP), NET, "- dnsmasq: stopped"),
    "bridge gone": (
        lambda its: beside(its, "ip", "link", "del", bridge(its)),
        NET,
        r"- device: virbr\d+ is gone",
    ),
    "bridge down": (
        lambda its: beside(its, "ip", "link", "set", bridge(its), "down"),
        NET,
        r"- device: virbr\d+ is down",
    ),
    "bridge without address": (
        lambda its: beside(its, "ip", "addr", "del", "10.164.1.1/24", "dev", bridge(its)),
        NET,
        r"- device: virbr\d+ without 10\.164\.1\.1/24",
    ),
    "forwarding off": (
        lambda its: beside(its, "sysctl", "-qw", "net.ipv4.ip_forward=0"),
        NET,
        r"- device: virbr\d+ without forwarding \(net\.ipv4\.ip_forward 0\)",
    ),
    "rules flushed": (
        lambda its: beside(its, "iptables", "-F"),
        NET,
        r"- firewall: without the rules of virbr\d+, the jumps to libvirt's chains in filter",
    ),
    "masquerading flushed": (
        lambda its: beside(its, "iptables", "-t", "nat", "-F", "LIBVIRT_PRT"),
        NET,
        r"- firewall: without the masquerading of 10\.164\.1\.0/24",
    ),
    "IPv6 rules flushed": (
        lambda its: beside(its, "ip6tables", "-F", "FORWARD"),
        NET,
        r"- firewall: without the jumps to libvirt's chains in filter \(IPv6\)",
    ),
    "chains gone": (
        chains_gone,
        NET,
        r"- firewall: without the rules of virbr\d+, the jumps to libvirt's chains in filter",
    ),
    "network stopped": (lambda its: virsh(its, "net-destroy", f"{LAB}-n"), NET, r"- active: no"),
    "autostart off": (
        lambda its: virsh(its, "net-autostart", "--disable", f"{LAB}-n"),
        NET,
        "- autostart: no",
    ),
    "tap out of the bridge": (
        lambda its: beside(its, "ip", "link", "set", tap(its), "nomaster"),
        A,
        r"\+ nics: [0-9a-f:]{17}@e2e-health-n",
    ),
    "tap down": (
        lambda its: beside(its, "ip", "link", "set", tap(its), "down"),
        A,
        r"\+ nics: [0-9a-f:]{17}@e2e-health-n",
    ),
}
# One of each kind is enough where time is short.
OFTEN = ("dnsmasq killed", "bridge gone", "chains gone", "tap out of the bridge")


@pytest.mark.parametrize(
    "kind", [pytest.param(each, marks=() if each in OFTEN else pytest.mark.full) for each in BREAKAGE]
)
def test_what_is_broken_beside_libvirt_is_seen_and_mended(
    lab: RunningLab, machine: PrivateMachine, kind: str
) -> None:
    plant, (section, name), diff = BREAKAGE[kind]
    before = running(machine)
    plant(machine)
    plan = lab.json("plan")
    assert plan.exit_code == 3, plan.rows
    assert re.match(diff, plan.of(section, name=name)[0]["diff"]), plan.of(section, name=name)
    assert lab.json("drift").of(section, name=name)[0]["status"] == "drifted"
    if kind == "dnsmasq killed":
        (row,) = lab.json("verify").of("network")
        assert (row["host"], row["name"], row["status"], row["actual"], row["why"]) == (
            *("hypervisor", "n", "failed", "dnsmasq not running"),
            "`labrun up` puts it right",
        )
    if kind == "tap out of the bridge":
        (row,) = lab.json("verify").of("machine")
        assert (row["host"], row["status"], row["actual"], row["why"]) == (
            *("a", "failed", f"not plugged in: n ({tap(machine)})"),
            "`labrun up` puts it right",
        )
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    assert up.of(section, name=name)[0]["status"] == "changed"
    assert lab.json("plan").exit_code == 0
    assert lab.json("up").statuses() == {"ok"}
    assert [address for address in ("10.164.1.10", "10.164.1.99") if not is_reached(machine, address)] == []
    assert running(machine) == before


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
        f"it has to be restarted, which would cut off {own}e2e-health-of-others (not this lab's):"
        f" {cure}stop or unplug e2e-health-of-others, then `labrun up`"
    )
    for words in (("plan", "--hosts", "a"), ("up", "--no-wait", "--hosts", "a")):
        answer = lab.json(*words)
        assert answer.exit_code == 3
        row = answer.of("network", name="n")[0]
        assert (row["status"], row["why"]) == ("pending", why)
    lab.path.write_text(TEXT, encoding="utf-8")
    # The table of declared addresses is the whole lab's, and has followed the file: nobody has them yet.
    back = lab.json("up")
    assert back.exit_code == 0, back.trouble()
    assert {row["name"] for row in back.rows if row["status"] != "ok"} <= {"declared addresses"}
    assert lab.json("plan").exit_code == 0


def test_a_changed_network_is_started_anew_under_the_labs_own_guests(
    lab: RunningLab, machine: PrivateMachine
) -> None:
    """A domain name cannot be changed in a running network; a session through it survives the restart."""
    virsh(machine, "destroy", OTHERS)
    command = lab.arguments("ssh", "a", "echo begun; read word; echo $word")
    with subprocess.Popen(
        command, env=lab.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdin
        assert session.stdout
        assert session.stdout.readline() == "begun\n"
        lab.path.write_text(TEXT.replace("mode: nat", "mode: nat, domain: lab.example"), encoding="utf-8")
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        assert up.of("network", name="n")[0]["actual"] == "restarted"
        session.stdin.write("still here\n")
        session.stdin.close()
        assert session.stdout.readline() == "still here\n"
    assert lab.json("up").statuses() == {"ok"}


def test_a_network_whose_hook_fails_leaves_nothing_and_starts_once_the_hook_is_mended(
    machine: PrivateMachine, tmp_path: Path
) -> None:
    """libvirt itself leaves the bridge with its address then: no network could have that subnet again."""
    made = write_lab(tmp_path, TEXT.replace("164", "166").replace(LAB, "e2e-hooked"))
    other = LabThere(made.path, made.state, machine=machine)
    rules = ("sh", "-c", "iptables-save; ip6tables-save; ip -br address; pgrep -a dnsmasq")
    traces = re.compile(r"10\.166\.|fd00:166:|e2e-hooked")
    hook = '#!/bin/sh\n[ "$1/$2" != e2e-hooked-n/started ] || { echo no thanks >&2; exit 1; }\n'
    machine.run("sh", "-c", f"printf '%s' {shlex.quote(hook)} >/run/hook; chmod 755 /run/hook")
    try:
        for _ in range(2):
            refused = other.json("up", "--no-wait")
            assert refused.exit_code == 5, refused.rows
            (row,) = refused.of("network", name="n")
            assert "Hook script execution failed" in row["why"], row
            left = beside(machine, *rules)
            assert [line for line in left.splitlines() if traces.search(line)] == []
            # A rule of libvirt's names each bridge that there is.
            named, bridges = (set(re.findall(rf"{at}(virbr\d+)", left, re.M)) for at in ("-[io] ", "^"))
            assert named <= bridges
        machine.run("rm", "/run/hook")
        up = other.json("up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        assert other.json("up", "--no-wait").statuses("network") == {"ok"}
        assert traces.search(beside(machine, *rules))
    finally:
        machine.run("rm", "-f", "/run/hook")
        down = other.run("-y", "down")
    assert down.exit_code == 0, down.stdout + down.stderr
