"""Settings of containers on a real hypervisor: what the file says of a machine is so in the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.tasks.provision.autostart_hook import has_hook
from labrun.tasks.provision.overlay import LABS
from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside
from tests.labs import RunningLab

NAME = "e2e-machines"
LAB = f"""\
name: {NAME}
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 256}}
networks: {{n: {{mode: isolated, cidr: 10.133.0.0/24}}}}
hosts:
  free: {{networks: {{n: 10.133.0.11}}}}
  held: {{networks: {{n: 10.133.0.12}}, vcpus: 1}}
"""
PROCESSORS = "nproc; grep -c ^processor /proc/cpuinfo"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("machines"), LAB)
    try:
        up = made.json("up")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.path.write_text(LAB, encoding="utf-8")
        made.run("-y", "down")


def processors(host: str) -> int:
    return int(inside(f"{NAME}-{host}", "nproc"))


@pytest.mark.full
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor is all there are")
def test_a_container_is_held_to_its_vcpus_and_takes_others_at_its_next_start(lab: RunningLab) -> None:
    every = processors("free")
    assert (every > 1, processors("held")) == (True, 1)
    lab.path.write_text(LAB.replace("vcpus: 1", "vcpus: 2, memory: 300"), encoding="utf-8")
    plan = lab.json("plan")
    (row,) = plan.of("machine", "held")
    assert (plan.exit_code, row["status"], row["why"]) == (3, "would-change", "from its next start on: vcpus")
    assert row["diff"] == "- memory: 256\n+ memory: 300\n- vcpus: 1\n+ vcpus: 2"
    up = lab.json("up")
    (row,) = up.of("machine", "held")
    assert (up.exit_code, row["status"], row["why"]) == (0, "changed", "from its next start on: vcpus")
    assert processors("held") == 1
    again = lab.json("up")
    assert again.statuses() == {"ok"}
    assert again.of("machine", "held")[0]["why"] == "from its next start on: vcpus"
    assert lab.json("plan").exit_code == 0

    restart = lab.json("restart", "--hosts", "held")
    assert restart.exit_code == 0, restart.trouble()
    assert [(row["section"], row["status"]) for row in restart.rows] == [
        ("machine", "changed"),
        ("ready", "ok"),
    ]
    # It is ready, so a login works at once.
    assert lab.guest("held", "nproc").strip() == "2"
    assert lab.json("up").of("machine", "held")[0]["why"] is None
    lab.path.write_text(LAB.replace(", vcpus: 1", ""), encoding="utf-8")
    assert lab.json("plan").of("machine", "held")[0]["diff"].endswith("- vcpus: 2\n+ vcpus: all")
    lab.path.write_text(LAB, encoding="utf-8")
    assert lab.json("up").exit_code == 0


@pytest.mark.full
def test_more_processors_than_there_are_and_what_no_container_has_are_refused(lab: RunningLab) -> None:
    before = lab.path.read_text(encoding="utf-8")
    try:
        lab.path.write_text(LAB.replace("vcpus: 1", "vcpus: 512"), encoding="utf-8")
        plan = lab.json("plan")
        (row,) = plan.of("machine", "held")
        there = processors("free")
        assert (plan.exit_code, row["why"]) == (5, f"512 vcpus, and the hypervisor has {there}")
        # Only the hypervisor that is chosen makes it a container.
        lab.path.write_text(
            LAB.replace("hypervisor: lxc:///system", "hypervisor: auto")
            .replace("vcpus: 1", "disks: [1]")
            .replace("free: {", "free: {firmware: uefi, "),
            encoding="utf-8",
        )
        plan = lab.json("plan")
        assert plan.exit_code == 5
        assert {row["host"]: row["why"] for row in plan.of("machine")} == {
            "free": "a container has no firmware (`firmware: bios`, or driver: qemu)",
            "held": "a container has no disks of its own (`disks: []`, or driver: qemu)",
        }
        lab.path.write_text(
            LAB.replace("hypervisor: lxc:///system", "hypervisor: auto").replace("vcpus: 1", "disk: 5"),
            encoding="utf-8",
        )
        notice = f"{lab.path}:7: hosts.held.disk has no effect: it applies only to VMs\n"
        assert notice in lab.json("plan").stderr
    finally:
        lab.path.write_text(before, encoding="utf-8")


@pytest.mark.full
def test_stop_says_which_machine_it_had_to_power_off(lab: RunningLab) -> None:
    inside(f"{NAME}-held", "systemctl mask --now --runtime poweroff.target")
    began = time.monotonic()
    stop = lab.json("--timeout", "4", "stop")
    assert stop.exit_code == 0, stop.trouble()
    assert time.monotonic() - began < 40
    assert {row["host"]: (row["status"], row["actual"], row["why"]) for row in stop.rows} == {
        "free": ("changed", "shut off", None),
        "held": ("changed", "shut off", "it did not shut down in 4 s and was powered off"),
    }
    assert lab.json("stop").statuses() == {"ok"}
    started = lab.json("restart", "--no-wait")
    assert {row["section"] for row in started.rows} == {"machine"}
    assert lab.json("up").exit_code == 0


@pytest.mark.full
def test_autostart_brings_the_hook_and_its_end_takes_it_away(lab: RunningLab) -> None:
    assert not has_hook()
    lab.path.write_text(LAB.replace("vcpus: 1", "vcpus: 1, autostart: true"), encoding="utf-8")
    assert lab.json("plan").of("machine", "held")[0]["diff"] == "- autostart: no\n+ autostart: yes"
    assert lab.json("up").of("machine", "held")[0]["actual"] == "changed in place"
    assert has_hook()
    assert lab.json("up").statuses() == {"ok"}
    Path("/etc/libvirt/hooks/lxc.d/labrun").unlink()
    plan = lab.json("plan")
    assert plan.of("machine", "held")[0]["diff"] == "- autostart: only in libvirt\n+ autostart: yes"
    assert lab.json("up").exit_code == 0
    assert has_hook()
    assert lab.json("-y", "down", "--hosts", "held").exit_code == 0
    assert not has_hook()
    lab.path.write_text(LAB, encoding="utf-8")
    assert lab.json("up").exit_code == 0
    assert (LABS / NAME / "held").is_dir()
