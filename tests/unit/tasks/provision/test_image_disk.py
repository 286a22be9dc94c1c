"""The bytes that make a disk boot, and a real disk made of a tiny tree."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from labrun.inventory.recipes import RECIPES
from labrun.tasks.provision.image_command import BuildCancelledError, BuildError
from labrun.tasks.provision.image_disk import VIRTUAL_SIZE, build_disk, patch_boot_sector, patch_core
from labrun.tasks.provision.image_recipe import recipe_folders

_MIB = 1024 * 1024


def test_the_boot_sector_keeps_the_partition_table_and_finds_the_core() -> None:
    boot = bytes(range(256)) * 2
    table = b"\xaa" * 512
    patched = patch_boot_sector(boot, table, 2048)
    assert struct.unpack_from("<Q", patched, 0x5C) == (2048,)
    assert patched[0x66:0x68] == b"\x90\x90"
    assert patched[0x1B8:0x1FE] == b"\xaa" * 70
    untouched = (slice(0, 0x5C), slice(0x64, 0x66), slice(0x68, 0x1B8), slice(0x1FE, 512))
    assert all(patched[part] == boot[part] for part in untouched)


def test_the_core_is_told_where_its_second_sector_is_and_keeps_its_length() -> None:
    core = bytes(500) + struct.pack("<QHH", 1, 77, 0x820) + b"rest"
    patched = patch_core(core, 2048)
    assert struct.unpack_from("<QHH", patched, 500) == (2049, 77, 0x820)
    assert (patched[:500], patched[512:]) == (bytes(500), b"rest")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    (root / "boot" / "grub").mkdir(parents=True)
    (root / "boot" / "grub" / "grub.cfg").write_text("boot\n")
    (root / "bin").mkdir()
    (root / "bin" / "ping").write_text("#!/bin/sh\n")
    (root / "bin" / "ping").chmod(0o755)
    if os.geteuid() == 0:
        # Version 2, effective: cap_net_raw, as setcap writes it.
        net_raw = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
        os.setxattr(root / "bin" / "ping", "security.capability", net_raw)
    return root


def _raw(disk: Path) -> Path:
    raw = disk.with_name("check.raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    return raw


def test_a_disk_holds_loaders_for_bios_and_uefi_and_the_tree(tree: Path, tmp_path: Path) -> None:
    disk = tmp_path / "out" / "disk.qcow2"
    disk.parent.mkdir()
    stages: list[tuple[str, float]] = []
    build_disk(
        tree,
        recipe_folders(RECIPES["debian-12"])[0],
        disk,
        progress=lambda stage, part: stages.append((stage, part)),
    )
    assert [part for _, part in stages] == sorted(part for _, part in stages)
    assert stages[-1] == ("qcow2", 1.0)
    assert [path.name for path in disk.parent.iterdir()] == ["disk.qcow2"]

    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output", "json", disk]))
    assert (info["format"], info["virtual-size"]) == ("qcow2", VIRTUAL_SIZE)
    raw = _raw(disk)
    table = json.loads(subprocess.check_output(["/usr/sbin/sfdisk", "--json", raw]))["partitiontable"]
    starts = [partition["start"] for partition in table["partitions"]]
    assert (table["label"], starts) == ("gpt", [2048, 4096, 36864])
    assert subprocess.run(["/usr/sbin/sfdisk", "--verify", raw], check=False).returncode == 0
    with raw.open("rb") as file:
        sector = file.read(512)
        file.seek(2048 * 512 + 500)
        core_start, core_length = struct.unpack("<QH", file.read(10))
    assert (sector[0x180:0x184], sector[-2:]) == (b"GRUB", b"\x55\xaa")
    assert core_start == 2049
    assert core_length > 0
    esp = subprocess.check_output(["mdir", "-b", "-i", f"{raw}@@{2 * _MIB}", "::/EFI/BOOT"], text=True)
    assert "BOOTX64.EFI" in esp
    for request, expected in (("cat /boot/grub/grub.cfg", "boot"), ("stat /bin/ping", "Mode:  0755")):
        said = subprocess.check_output(
            ["/usr/sbin/debugfs", "-R", request, f"{raw}?offset={36864 * 512}"], text=True
        )
        assert expected in said
    if os.geteuid() == 0:
        attributes = subprocess.check_output(
            ["/usr/sbin/debugfs", "-R", "ea_list /bin/ping", f"{raw}?offset={36864 * 512}"], text=True
        )
        assert "security.capability" in attributes


def test_a_tree_that_is_not_there_is_said_by_the_tool_that_found_out(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^root file system: mke2fs ended with status 1:\n.*No such file"):
        build_disk(
            tmp_path / "none",
            recipe_folders(RECIPES["debian-12"])[0],
            tmp_path / "d.qcow2",
            progress=lambda *_: None,
        )


def test_a_recipe_without_the_loader_s_configuration_fails_at_the_boot_loader(
    tree: Path, tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match=r"^boot loader: grub-mkimage ended with status 1:\n.*early.cfg"):
        build_disk(tree, tmp_path, tmp_path / "disk.qcow2", progress=lambda *_: None)


def test_a_build_can_be_stopped(tree: Path, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(BuildCancelledError):
        build_disk(
            tree,
            recipe_folders(RECIPES["debian-12"])[0],
            tmp_path / "d",
            progress=lambda *_: None,
            cancel=cancel,
        )
