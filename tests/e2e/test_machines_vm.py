"""Settings of VMs on a real hypervisor: firmware, disks, memory, processors, and what is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from labrun.tasks.provision.qemu import QemuDriver
from labrun.tasks.provision.volumes import lab_pool
from tests.e2e.conftest import write_lab
from tests.e2e.test_vms import QEMU
from tests.labs import RunningLab

NAME = "e2e-vm-settings"
LAB = f"""\
name: {NAME}
hypervisor: {QEMU}
defaults: {{image: debian-12}}
networks: {{n: {{mode: isolated, cidr: 10.136.0.0/24}}}}
hosts:
  large: {{networks: {{n: 10.136.0.11}}, memory: 384, firmware: uefi, disk: 10, disks: [1, 2]}}
  small: {{networks: {{n: 10.136.0.12}}, memory: 128}}
"""
PATIENT = ("--timeout", "900")
DISKS = "lsblk -dbno NAME,SIZE | sed -n 's/^vd[ac-z] *//p'"
GIB = 1024**3

pytestmark = [pytest.mark.vm, pytest.mark.full]


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("vm-settings"), LAB)
    try:
        up = made.json(*PATIENT, "up")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.run("-y", "down")


def sizes(lab: RunningLab) -> list[int]:
    return [int(line.split()[-1]) // GIB for line in lab.guest("large", "lsblk -dbno SIZE /dev/vd?").split()]


def test_what_a_vm_has(lab: RunningLab) -> None:
    assert lab.guest("large", "test -d /sys/firmware/efi && echo uefi") == "uefi\n"
    assert lab.guest("small", "test -d /sys/firmware/efi || echo bios") == "bios\n"
    # The system disk, the seed, and two more, which have names that do not depend on their order.
    assert sizes(lab) == [10, 0, 1, 2]
    links = lab.guest("large", "readlink /dev/disk/by-id/virtio-disk1 /dev/disk/by-id/virtio-disk2").split()
    assert [Path(link).name for link in links] == ["vdc", "vdd"]
    assert int(lab.guest("small", "sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo")) < 128 * 1024
    assert "virtio" in lab.guest("large", "cat /sys/class/misc/hw_random/rng_current")
    assert lab.json(*PATIENT, "exec", "--via", "agent", "true").statuses() == {"ok"}
    tail = QemuDriver(QEMU).console_tail(f"{NAME}-large", lines=300)
    assert "Linux version" in tail or "Debian GNU/Linux" in tail
    assert lab.json("plan").exit_code == 0


def test_what_changes_in_place_at_the_next_start_and_not_at_all(lab: RunningLab) -> None:
    lab.guest("large", "printf mark-of-disk1 | dd of=/dev/vdc conv=fsync status=none")
    lab.path.write_text(
        LAB.replace("memory: 384", "memory: 400, vcpus: 2").replace("disks: [1, 2]", "disks: [2, 2, 1]")
    )
    plan = lab.json("plan")
    (row,) = plan.of("machine", "large")
    assert (row["actual"], row["why"]) == (
        "would be changed in place",
        "from its next start on: memory, vcpus",
    )
    up = lab.json(*PATIENT, "up")
    assert up.exit_code == 0, up.trouble()
    assert up.of("machine", "large")[0]["why"] == "from its next start on: memory, vcpus"
    # The disks are there at once, the kernel has the old memory.
    assert sizes(lab) == [10, 0, 2, 2, 1]
    assert lab.guest("large", "nproc") == "1\n"
    restart = lab.json(*PATIENT, "restart", "--hosts", "large")
    assert restart.exit_code == 0, restart.trouble()
    assert [(row["section"], row["status"], row["why"]) for row in restart.rows] == [
        ("machine", "changed", None),
        ("ready", "ok", None),
    ]
    assert lab.guest("large", "nproc; head -c 13 /dev/vdc; ls /sys/firmware/efi/efivars | grep -c Boot0")
    assert lab.guest("large", "nproc") == "2\n"
    assert lab.guest("large", "head -c 13 /dev/vdc") == "mark-of-disk1"
    assert lab.json("plan").exit_code == 0

    # A disk that would go stays, and the rest is done.
    lab.path.write_text(
        LAB.replace("memory: 384", "memory: 390, vcpus: 2").replace("disks: [1, 2]", "disks: [2]")
    )
    new = "disks: this needs a new machine: labrun up --recreate --hosts large"
    plan = lab.json("plan")
    (row,) = plan.of("machine", "large")
    assert (plan.exit_code, row["status"], row["why"]) == (
        3,
        "would-change",
        f"from its next start on: memory; {new}",
    )
    up = lab.json(*PATIENT, "up")
    (row,) = up.of("machine", "large")
    assert (up.exit_code, row["status"], row["why"]) == (
        3,
        "pending",
        f"from its next start on: memory; {new}",
    )
    (row,) = lab.json("plan").of("machine", "large")
    assert (row["status"], row["why"], row["diff"]) == (
        "pending",
        new.partition(": ")[2],
        "- disks: 2 2 1\n+ disks: 2",
    )
    assert sizes(lab) == [10, 0, 2, 2, 1]
    drift = lab.json(*PATIENT, "drift", "--hosts", "large")
    (row,) = drift.of("machine", "large", "large")
    assert row["status"] == "pending"


def test_nothing_is_left_of_it(lab: RunningLab) -> None:
    """A paused machine, one that somebody undefined while it runs, further disks, UEFI's variables."""
    connection = libvirt.open(QEMU)
    try:
        large, small = (connection.lookupByName(f"{NAME}-{host}") for host in ("large", "small"))
        nvram = Path(large.XMLDesc(0).partition("<nvram")[2].partition(">")[2].partition("<")[0])
        assert nvram.is_file()
        large.suspend()
        small.undefine()
        down = lab.json("-y", "down")
        assert down.exit_code == 0, down.trouble()
        assert not nvram.exists()
        assert [each.name() for each in connection.listAllDomains() if NAME in each.name()] == []
        assert [each.name() for each in connection.listAllStoragePools() if NAME in each.name()] == []
        assert not Path(str(lab_pool(NAME).directory)).exists()
        assert lab.json("-y", "down").statuses() == {"ok"}
    finally:
        connection.close()
