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


_REASONS = {
    "boot-mounts": "unknown filesystem",
    "boot-locks": "/etc/sysctl.d/10-x.conf forbids to load modules before its driver virtio_net is there",
}


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        ("boot-mounts", "/data: unknown filesystem", "/etc/fstab would stop the next boot: /data: {}"),
        (
            "boot-drivers",
            "eth0 virtio_net",
            "eth0 would be missing after the next boot: modprobe would not load its driver virtio_net",
        ),
        (
            "boot-locks",
            "eth0 virtio_net /etc/sysctl.d/10-x.conf",
            "eth0 would be missing after the next boot: {}",
        ),
        (
            "boot-images",
            "initrd /initrd.img has no init",
            "the next boot would fail: /initrd.img, the early userland, has no init",
        ),
        (
            "boot-images",
            "kernel /vmlinuz is not one",
            "the next boot would fail: /vmlinuz, the kernel, is not one",
        ),
    ],
)
def test_what_was_tried_and_failed(name: str, line: str, why: str) -> None:
    assert fault({name: ok(f"{line}\n")}) == why.format(_REASONS.get(name, ""))
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


@pytest.mark.parametrize(
    ("option", "is_refused"),
    [
        ("napi_tx=rubbish", True),
        ("napi_tx=0", False),
        ("napi_tx=yes", False),
        ("napi_tx", False),
        ("csum=n napi-weight=many", True),
        ("napi_weight=0x40", False),
        ("irq=1,2,-3", False),
        ("irq=1,two", True),
        ("mode=rubbish", False),
        ("unknown=rubbish", False),
    ],
)
def test_options_are_judged_by_the_types_that_the_module_gives_them(
    tmp_path: Path, option: str, is_refused: bool
) -> None:
    program = tmp_path / "modinfo"
    program.write_text(
        "#!/bin/sh\nprintf '%s\\n' napi_tx:bool csum:bool napi_weight:int 'irq:array of int' mode:charp\n"
    )
    program.chmod(0o755)
    script = f"PATH={tmp_path}:$PATH\n{guest_script('try_boot')}"
    script += f"refuses_options virtio_net.ko {option} && echo refused || echo taken\n"
    assert _ran(script) == ("refused\n" if is_refused else "taken\n")


_GZIP = b"\x1f\x8b"


@pytest.mark.parametrize(
    ("content", "listed", "was", "why"),
    [
        (b"x\n", "", 0, "is not one"),
        (_GZIP, "init\nx/ext4.ko.xz\nusr/lib/modules/6/virtio_blk.ko\n", 9, ""),
        (
            _GZIP,
            "init\nusr/lib/modules/6/ext4.ko\n",
            9,
            "has no virtio-blk, which the root file system needs",
        ),
        (_GZIP, "bin/sh\n", 9, "has no init"),
        (
            _GZIP,
            "lrwxrwxrwx 1 root root 23 init -> usr/lib/systemd/systemd\n./ext4.ko /virtio-blk.ko\n",
            9,
            "",
        ),
        # What cannot be listed may still boot, as long as it has not been cut.
        (_GZIP * 10, "", 40, ""),
        (_GZIP * 10, "", 41, "has lost more than half and cannot be read"),
    ],
)
def test_an_early_userland_that_starts_nothing_is_told(
    tmp_path: Path, content: bytes, listed: str, was: int, why: str
) -> None:
    image = tmp_path / "initrd"
    image.write_bytes(content)
    (tmp_path / "listed").write_text(listed)
    for name, line in (
        ("lsinitramfs", f"test -s {tmp_path}/listed && cat {tmp_path}/listed"),
        ("modinfo", 'echo "/lib/modules/6/$3.ko"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    script = f"PATH={tmp_path}:$PATH\n{guest_script('try_boot')}"
    script += f"root_modules() {{ echo ext4; echo virtio-blk; }}\ninitrd_fault {image} {len(content)} {was}\n"
    assert _ran(script).strip() == why


def test_only_images_that_have_changed_are_looked_at(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(b"\0" * 514 + b"HdrS" + b"\0" * 2000)
    parts = f"guard={tmp_path}\n" + "".join(map(guest_script, ("boot_chain", "try_boot")))
    listing = f"chain_state() {{ echo kernel {kernel} there $(stat -c '%i,%s,%Y' {kernel}); }}\n"
    (tmp_path / "chain").write_text(_ran(f"{parts}{listing}uname() {{ echo x86_64; }}\nchain_state\n"))
    look = f"{parts}{listing}uname() {{ echo x86_64; }}\ntry_images\n"
    assert _ran(look) == ""
    kernel.write_bytes(b"\0" * 514 + b"HdrS" + b"\0" * 1999)
    assert _ran(look) == ""
    kernel.write_bytes(b"\0" * 514 + b"HdrS")
    assert _ran(look) == f"kernel {kernel} has lost more than half\n"
    kernel.write_bytes(b"x" * 2519)
    assert _ran(look) == f"kernel {kernel} is not one\n"


def test_what_the_boot_loader_starts_comes_back_even_if_written_to_in_place(tmp_path: Path) -> None:
    boot, guard, live = tmp_path / "boot", tmp_path / "guard", tmp_path / "live"
    for folder in (boot, guard, live):
        folder.mkdir()
    kernel, other = boot / "vmlinuz-6", boot / "vmlinuz-5"
    for each in (kernel, other):
        each.write_bytes(b"k" * 700_000)
    (tmp_path / "vmlinuz").symlink_to("boot/vmlinuz-6")
    (guard / "chain").write_text(f"kernel {tmp_path}/vmlinuz there 1,700000,1\n")
    parts = "".join(map(guest_script, ("trees", "boot_chain")))
    values = f"guard={guard} live={live}\n"
    _ran(f"{values}{parts}cd {boot}; copy_boot *; tree_list >{guard}/tree1\n")
    assert [each.stat().st_nlink for each in (kernel, other)] == [1, 2]
    with kernel.open("r+b") as opened:
        opened.truncate(10)
    _ran(f"{values}{parts}tree_put_back {boot} 1\n")
    assert kernel.read_bytes() == b"k" * 700_000
    assert sorted(each.name for each in boot.iterdir()) == [".labrun-tree", "vmlinuz-5", "vmlinuz-6"]


def test_a_file_that_forbids_to_load_modules_before_a_driver_is_there_is_named(tmp_path: Path) -> None:
    folder, lister = tmp_path / "etc/sysctl.d", tmp_path / "lsinitramfs"
    folder.mkdir(parents=True)
    file, initrd = folder / "10-x.conf", tmp_path / "initrd"
    initrd.write_text("x")
    (tmp_path / "drivers").write_text("eth0 virtio_net virtio1 /sys/d /sys/p virtio:d1\n")
    (tmp_path / "chain").write_text(f"initrd {initrd} there 1,1,1\n")
    script = f"PATH={tmp_path}:$PATH guard={tmp_path}\n"
    script += "".join(map(guest_script, ("boot_chain", "try_boot"))) + "try_locks\n"
    for says, holds, named in (
        ("kernel.modules_disabled = 1\n", "/ext4.ko", f"eth0 virtio_net {file}\n"),
        ("kernel/modules_disabled=1\n", "/ext4.ko", f"eth0 virtio_net {file}\n"),
        ("kernel.modules_disabled = 0\n", "/ext4.ko", ""),
        ("# kernel.modules_disabled = 1\n", "/ext4.ko", ""),
        ("kernel.modules_disabled = 1\n", "/virtio_net.ko.xz", ""),
    ):
        file.write_text(says)
        lister.write_text(f"#!/bin/sh\necho {holds}\n")
        lister.chmod(0o755)
        assert _ran(script, ("/etc/", f"{tmp_path}/etc/")) == named, (says, holds)


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
