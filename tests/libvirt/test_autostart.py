"""With `autostart` a container starts with the hypervisor, its root mounted and its rules loaded."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from labrun.tasks.provision.image_store import image_paths
from tests.private_machine import HYPERVISOR, PrivateMachine, private_machine

LAB = """\
name: autostart
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  n: {mode: isolated, cidr: 10.134.0.0/24}
  out: {mode: nat, cidr: 10.134.1.0/24, forward: [{port: 18134, to: "self:80"}]}
hosts:
  self: {networks: {n: {ipv4: 10.134.0.11, filter: quiet}, out: 10.134.1.11}, autostart: true}
  other: {networks: {n: 10.134.0.12}}
filters:
  quiet: [{allow: in, proto: tcp, port: 22}, {reject: in, proto: tcp}]
"""
RULES = "nft list ruleset; iptables -S FORWARD; cat /proc/sys/net/ipv4/conf/virbr*/route_localnet"
HOOK = Path("/etc/libvirt/hooks/network.d/labrun")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not image_paths("debian-12").rootfs.is_dir(), reason="needs root and debian-12"
)


def running(machine: PrivateMachine) -> set[str]:
    done = machine.run("virsh", "-c", "lxc:///system", "list", "--name")
    return set(done.stdout.split())


def labrun(machine: PrivateMachine, *words: str, code: int = 0) -> str:
    command = (sys.executable, "-m", "labrun", "--lab", "lab.yaml", "--state-dir", "state", *words)
    done = machine.run(*command, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def rules(machine: PrivateMachine) -> str:
    """Return what the kernel holds there: tables, the chain of forwarded packets, the switches of bridges."""
    return machine.run("sh", "-c", RULES, network=True).stdout


def of_labrun(text: str) -> list[str]:
    """Return the lines that name labrun, and the switches, sorted: tables have no order."""
    return sorted(line.strip() for line in text.splitlines() if "labrun" in line or line in ("0", "1"))


@pytest.mark.full
def test_what_starts_with_the_hypervisor() -> None:
    with private_machine(with_images=True) as machine:
        (machine.folder / "lab.yaml").write_text(LAB, encoding="utf-8")
        labrun(machine, "up")
        assert running(machine) == {"autostart-self", "autostart-other"}
        before = rules(machine)
        assert all(each in before for each in ("labrun/autostart/spoofing", "18134", "--ctstate DNAT"))
        machine.run(HYPERVISOR, "stop", "--force")
        machine.run(HYPERVISOR, "start")
        # libvirtd answers before it is done with starting.
        until = time.monotonic() + 60
        while not running(machine):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert running(machine) == {"autostart-self"}
        assert of_labrun(rules(machine)) == of_labrun(before)
        # It is whole: labrun has nothing to do with it but to wait for its boot.
        found = labrun(machine, "--hosts", "self", "--json", "plan")
        rows = json.loads(found)["results"]
        (row,) = (each for each in rows if each["section"] == "machine")
        assert (row["status"], row["actual"]) == ("ok", "as declared")
        # What it may send, and what comes to it, is as before, though nobody has called labrun.
        of_rules = {each["name"]: each["status"] for each in rows if each["section"] in ("filter", "forward")}
        assert of_rules == {"quiet": "ok", "declared addresses": "ok", "out": "ok"}
        labrun(machine, "--hosts", "self", "up")
        labrun(machine, "--hosts", "self", "exec", "test -x /usr/sbin/labrun-init")
        labrun(machine, "-y", "down")
        assert machine.run("ls", str(HOOK), check=False).returncode != 0
        assert machine.run("ls", "-A", "/var/lib/labrun/labs").stdout == ""
