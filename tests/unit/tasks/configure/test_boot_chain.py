"""What would keep a machine from its services at the next boot: boot loader, drivers, mounts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Captured
from tests.unit.next_boot_host import BEFORE, fault, ok, units

CHAIN = (
    "loader /boot/grub/grub.cfg\n"
    "kernel /vmlinuz there 7,100,1\n"
    "words root=LABEL=top rw quiet\n"
    "root LABEL=top there\n"
    "initrd /initrd.img there 8,100,1\n"
)


@pytest.mark.parametrize(
    ("was", "becomes", "why"),
    [
        ("there 7,100,1", "gone", "the next boot would not find /vmlinuz, the kernel that {} names"),
        (
            "there 8,100,1",
            "gone",
            "the next boot would not find /initrd.img, the early userland that {} names",
        ),
        ("LABEL=top there", "LABEL=top gone", "the next boot would not find its root: {} names LABEL=top"),
        (CHAIN, "", "the boot loader would find no {} at the next boot"),
        ("kernel /vmlinuz there 7,100,1\n", "", "{} would start no kernel at the next boot"),
        ("quiet", "quiet init=/x", "the next boot would be another one: {} tells the kernel init=/x"),
        ("quiet", "quiet single", "the next boot would be another one: {} tells the kernel single"),
        # A new kernel, and words that change nothing about the way in.
        ("7,100,1", "9,200,2", None),
        ("quiet", "quiet mitigations=off", None),
    ],
)
def test_what_the_boot_loader_would_do(was: str, becomes: str, why: str | None) -> None:
    now = CHAIN.replace(was, becomes)
    found = fault({"boot-chain-before": ok(CHAIN), "boot-chain": ok(now)})
    assert found == (why and why.format("/boot/grub/grub.cfg"))
    # What was so before is no news, and without a boot loader there is nothing to say.
    assert fault({"boot-chain-before": ok(now), "boot-chain": ok(now)}) is None
    assert fault({"boot-chain-before": ok(), "boot-chain": ok(now)}) is None


def test_a_path_that_could_not_be_told_before_is_no_news() -> None:
    before = ok(CHAIN.replace("/vmlinuz there 7,100,1", "/@/vmlinuz-1 gone"))
    now = ok(CHAIN.replace("/vmlinuz there 7,100,1", "/@/vmlinuz-2 gone"))
    assert fault({"boot-chain-before": before, "boot-chain": now}) is None


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        ("boot-mounts", "/data: unknown filesystem", "/etc/fstab would stop the next boot: /data: {}"),
        (
            "boot-drivers",
            "eth0 virtio_net",
            "eth0 would be missing after the next boot: modprobe would not load its driver virtio_net",
        ),
    ],
)
def test_what_was_tried_and_failed(name: str, line: str, why: str) -> None:
    assert fault({name: ok(f"{line}\n")}) == why.format("unknown filesystem")
    assert fault({name: ok()}) is None


@pytest.mark.parametrize("unit", ["systemd-udevd.service", "systemd-udev-trigger.service", "local-fs.target"])
def test_units_without_which_no_device_and_no_mount_is_ready(unit: str) -> None:
    def said(load: str, active: str) -> Captured:
        return ok(units() + f"\nId={unit}\nLoadState={load}\nActiveState={active}\nUnitFileState=static\n")

    asked = {"boot-before": said("loaded", "active"), "boot-now": said("masked", "active")}
    assert fault(asked) == f"{unit} would not start at the next boot: it is masked"
    assert fault({**asked, "boot-now": said("loaded", "active")}) is None
    # A container runs none of them.
    assert fault({**asked, "boot-before": said("loaded", "inactive")}) is None
    assert BEFORE


def _ran(script: str, *replacing: tuple[str, str]) -> str:
    for old, new in replacing:
        script = script.replace(old, new)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_boot_loaders_file_is_read_as_it_reads_it(tmp_path: Path) -> None:
    (tmp_path / "grub").mkdir()
    (tmp_path / "vmlinuz-6").write_text("kernel")
    (tmp_path / "grub/grub.cfg").write_text(
        "set timeout=0\nmenuentry 'A' {\n\tlinux\t/vmlinuz-6 root=/dev/nowhere ro quiet\n\tinitrd /initrd-6\n"
        "}\nmenuentry 'old' {\n\tlinux /vmlinuz-5 root=/dev/other single\n}\n"
    )
    at = ("/boot", str(tmp_path))
    script = guest_script("boot_chain") + "has_own_boot() { :; }\nchain_state\n"
    lines = _ran(script, at).splitlines()
    assert lines[0] == f"loader {tmp_path}/grub/grub.cfg"
    assert lines[1].startswith("kernel /vmlinuz-6 there ")
    assert lines[2:] == [
        "words root=/dev/nowhere ro quiet",
        "root /dev/nowhere gone",
        "initrd /initrd-6 gone",
    ]
    assert _ran(guest_script("boot_chain") + "has_own_boot() { false; }\nchain_state\n", at) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_only_new_lines_of_fstab_that_cannot_be_mounted_are_named(tmp_path: Path) -> None:
    tree, etc = tmp_path / "tree", tmp_path / "etc"
    for folder in (tree, etc):
        folder.mkdir()
    (tree / "fstab").write_text("/nowhere /old none bind 0 0\n")
    (etc / "fstab").write_text(
        "# data\n/nowhere /old none bind 0 0\n/nowhere /new none bind 0 0\n"
        "/nowhere /may none bind,nofail 0 0\n"
        "tmpfs /memory tmpfs size=1m 0 0\nsomething /type nonsuch defaults 0 0\n"
        "server:/x /far nfs defaults 0 0\n"
        f"{tmp_path} /folder none bind 0 0\n{etc}/fstab /file none bind 0 0\n/dev/nowhere none swap sw 0 0\n"
    )
    script = guest_script("try_boot") + "try_mounts\n"
    said = _ran(script, ("/etc/.labrun-tree", str(tree)), ("/etc/fstab", f"{etc}/fstab"))
    lines = said.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["/new", "/type"]
    assert lines[0] == "/new: special device /nowhere does not exist."
    (etc / "fstab").unlink()
    assert _ran(script, ("/etc/.labrun-tree", str(tree)), ("/etc/fstab", f"{etc}/fstab")) == ""


def test_a_driver_that_modprobe_would_not_load_is_named(tmp_path: Path) -> None:
    program = tmp_path / "modprobe"
    # With -C it is asked what was so before.
    program.write_text(
        '#!/bin/sh\ncase "$*" in *"-C "*) echo insmod /lib/modules/6/net/virtio_net.ko;;'
        f" *) cat {tmp_path}/says;; esac\n"
    )
    program.chmod(0o755)
    (tmp_path / "drivers").write_text("eth0 virtio_net virtio1 /sys/d /sys/p virtio:d1\n")
    script = f"PATH={tmp_path}:$PATH guard={tmp_path}\n{guest_script('try_boot')}try_drivers\n"
    for says, named in (
        ("insmod /lib/modules/6/net_failover.ko\ninsmod /lib/modules/6/net/virtio-net.ko.xz napi_tx=1\n", ""),
        ("builtin virtio_net\n", ""),
        ("", "eth0 virtio_net\n"),
        ("install /bin/false\n", "eth0 virtio_net\n"),
        ("insmod /lib/modules/6/net_failover.ko\ninstall /bin/false\n", "eth0 virtio_net\n"),
    ):
        (tmp_path / "says").write_text(says)
        assert _ran(script) == named, says


def test_what_lies_in_boot_comes_back_whether_large_or_small(tmp_path: Path) -> None:
    boot, guard, live = tmp_path / "boot", tmp_path / "guard", tmp_path / "live"
    for folder in (boot, guard, live):
        folder.mkdir()
    kernel, config = boot / "vmlinuz", boot / "grub.cfg"
    kernel.write_bytes(b"k" * 700_000)
    config.write_text("good\n")
    parts = "".join(map(guest_script, ("trees", "boot_chain")))
    values = f"guard={guard} live={live}\n"
    _ran(f"{values}{parts}cd {boot}; copy_boot *; tree_list >{guard}/tree1\n")
    # The large file takes no room; the small one may be written to in place.
    assert kernel.stat().st_nlink == 2
    link = tmp_path / "vmlinuz-link"
    link.symlink_to("boot/vmlinuz")
    (guard / "root-links").write_text(f"{link} boot/vmlinuz\n")
    link.unlink()
    kernel.unlink()
    config.write_text("bad\n")
    (boot / "new").write_text("x")
    _ran(f"{values}{parts}tree_put_back {boot} 1\nput_back_links\n")
    assert str(link.readlink()) == "boot/vmlinuz"
    assert (kernel.stat().st_size, config.read_text(), (boot / "new").exists()) == (700_000, "good\n", False)
