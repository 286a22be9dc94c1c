"""A container with `autostart` starts with the hypervisor, its root mounted; one without does not."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest

from labrun.tasks.provision.image_store import image_paths
from tests.private_machine import HYPERVISOR, PrivateMachine, private_machine

LAB = """\
name: autostart
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks: {n: {mode: isolated, cidr: 10.134.0.0/24}}
hosts:
  self: {networks: {n: 10.134.0.11}, autostart: true}
  other: {networks: {n: 10.134.0.12}}
"""

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


def test_what_starts_with_the_hypervisor() -> None:
    with private_machine(with_images=True) as machine:
        (machine.folder / "lab.yaml").write_text(LAB, encoding="utf-8")
        labrun(machine, "up")
        assert running(machine) == {"autostart-self", "autostart-other"}
        machine.run(HYPERVISOR, "stop", "--force")
        machine.run(HYPERVISOR, "start")
        # libvirtd answers before it is done with starting.
        until = time.monotonic() + 60
        while not running(machine):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert running(machine) == {"autostart-self"}
        # It is whole: labrun has nothing to do with it but to wait for its boot.
        found = labrun(machine, "--hosts", "self", "--json", "plan", code=3)
        (row,) = (each for each in json.loads(found)["results"] if each["section"] == "machine")
        assert (row["status"], row["actual"]) == ("ok", "as declared")
        labrun(machine, "--hosts", "self", "up")
        labrun(machine, "--hosts", "self", "exec", "test -x /usr/sbin/labrun-init")
        labrun(machine, "-y", "down")
