"""Snapshots of real VMs, BIOS and UEFI: they go on where they were, with what was only in their memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import running_lab
from tests.labs import RunningLab

pytestmark = pytest.mark.full
LAB = """\
name: e2e-snapvm
hypervisor: qemu:///system
defaults: {image: debian-12, memory: 384, disk: 3}
networks:
  lan: {mode: isolated, cidr: 10.179.0.0/24}
hosts:
  bios: {networks: {lan: 10.179.0.11}}
  uefi: {networks: {lan: 10.179.0.12}, firmware: uefi, disks: [1]}
  cont: {networks: {lan: 10.179.0.13}, driver: lxc}
"""
VMS = ("bios", "uefi")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    yield from running_lab(tmp_path_factory.mktemp("snapvm"), LAB)


def boots(lab: RunningLab) -> list[str]:
    return [lab.guest(host, "cat /proc/sys/kernel/random/boot_id") for host in VMS]


def test_vms_go_on_with_their_memory_and_their_disks(lab: RunningLab) -> None:
    for host in VMS:
        lab.guest(host, "echo memory >/run/mark; echo disk >/root/mark; sync")
    lab.guest("uefi", "echo raw >/dev/disk/by-id/virtio-disk1; sync")
    before = boots(lab)
    saved = lab.json("snapshot", "save", "good")
    assert saved.exit_code == 0, saved.trouble()
    assert all("MiB of memory" in row["actual"] for row in saved.rows if row["host"] in VMS)
    assert boots(lab) == before
    for host in VMS:
        lab.guest(host, "rm /run/mark; echo later >/root/mark; sysctl -q net.ipv4.ip_default_ttl=9; sync")
    lab.guest("uefi", "echo lost >/dev/disk/by-id/virtio-disk1; sync")
    lab.guest("bios", "nohup sh -c 'sleep 1; ip link set eth0 down' >/dev/null 2>&1 &")
    restored = lab.json("-y", "snapshot", "restore", "good")
    assert restored.exit_code == 0, restored.trouble()
    assert boots(lab) == before
    for host in VMS:
        assert (
            lab.guest(host, "cat /run/mark /root/mark /proc/sys/net/ipv4/ip_default_ttl")
            == "memory\ndisk\n64\n"
        )
        assert abs(int(lab.guest(host, "date +%s")) - int(lab.guest("cont", "date +%s"))) < 60
    assert lab.guest("uefi", "head -c 3 /dev/disk/by-id/virtio-disk1") == "raw"
    verified = lab.json("verify", "--hosts", "bios,uefi,cont")
    assert {row["status"] for row in verified.of("path") + verified.of("address")} == {"ok"}


def test_a_second_restore_and_one_of_vms_that_were_removed(lab: RunningLab) -> None:
    before = boots(lab)
    assert lab.json("-y", "down", "--hosts", "uefi").exit_code == 0
    restored = lab.json("-y", "snapshot", "restore", "good")
    assert restored.exit_code == 0, restored.trouble()
    assert boots(lab) == before
    assert lab.json("plan").exit_code == 0


def test_diff_says_that_it_cannot_look_into_vms_and_a_fork_is_refused(lab: RunningLab) -> None:
    found = lab.json("snapshot", "diff", "good")
    whys = {row["host"]: row["why"] for row in found.of("files")}
    assert whys["bios"] == whys["uefi"] == "the files of a VM cannot be seen from outside"
    refused = lab.run("fork", "x")
    assert refused.exit_code == 5
    assert "a fork has containers only, and bios, uefi are VMs" in refused.stderr


def test_vms_that_are_off_are_restored_as_off_with_their_disks(lab: RunningLab) -> None:
    assert lab.json("--timeout", "120", "stop").exit_code == 0
    assert lab.json("snapshot", "save", "off").exit_code == 0
    assert lab.json("-y", "snapshot", "restore", "off").exit_code == 0
    states = {host["state"] for host in lab.json("status").document["hosts"]}
    assert states == {"shut off"}
