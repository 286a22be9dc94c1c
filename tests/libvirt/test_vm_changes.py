"""What `plan` says of changes of a VM and what `up` does, on a guest of one boot sector: without a boot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.tasks.provision.image_import import import_image
from tests.labs import RunningLab
from tests.tiny_guest import tiny_disk

NAME, IMAGE = "t-vm-changes", "t-vm-changes-image"
LAB = f"""\
name: {NAME}
hypervisor: qemu:///system
networks: {{n: {{mode: very-isolated, cidr: 10.138.0.0/24}}}}
hosts:
  a: {{networks: {{n: 10.138.0.11}}, image: {IMAGE}, memory: 64, disk: 1, disks: [1, 2]}}
"""
NEW = "disks: this needs a new machine: labrun up --recreate --hosts a"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    import_image(tiny_disk(tmp_path / "tiny.qcow2"), IMAGE)
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    made = RunningLab(tmp_path / "lab.yaml", tmp_path / "state")
    try:
        up = made.json("up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.run("-y", "down")
        made.run("image", "remove", IMAGE)


def write(lab: RunningLab, old: str, new: str) -> None:
    assert old in LAB
    lab.path.write_text(LAB.replace(old, new), encoding="utf-8")


@pytest.mark.full
def test_a_disk_that_cannot_go_keeps_nothing_else_back(lab: RunningLab) -> None:
    write(lab, "memory: 64, disk: 1, disks: [1, 2]", "memory: 80, vcpus: 2, disk: 2, disks: [1]")
    why = f"from its next start on: memory, vcpus; {NEW}"
    plan = lab.json("plan")
    (row,) = plan.of("machine")
    assert (plan.exit_code, row["status"], row["actual"]) == (3, "would-change", "would be changed in place")
    assert row["why"] == why
    up = lab.json("up", "--no-wait")
    (row,) = up.of("machine")
    assert (up.exit_code, row["status"], row["actual"]) == (3, "pending", "changed in place")
    assert row["why"] == why

    # A second run has nothing left to do but what it cannot do.
    (row,) = lab.json("plan").of("machine")
    assert (row["status"], row["actual"], row["diff"]) == ("pending", "as before", "- disks: 1 2\n+ disks: 1")
    assert row["why"] == NEW.removeprefix("disks: ")
    again = lab.json("up", "--no-wait").of("machine")
    assert [(each["status"], each["why"]) for each in again] == [("pending", NEW.removeprefix("disks: "))]

    stop = lab.json("--timeout", "8", "stop")
    assert [(each["status"], each["why"]) for each in stop.rows] == [
        ("changed", "it did not shut down in 8 s and was powered off")
    ]
    write(lab, "memory: 64, disk: 1, disks: [1, 2]", "memory: 80, vcpus: 2, disk: 2, disks: [1, 3, 1]")
    assert lab.json("up", "--no-wait").of("machine")[0]["status"] == "changed"
    assert lab.json("plan").statuses() == {"ok"}
