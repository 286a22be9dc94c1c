"""Turn a tree into a disk that boots by itself, under BIOS and UEFI, without loop devices or mounts.

Layout (GPT): a BIOS boot partition with GRUB's core, an EFI system partition with GRUB as the fallback
loader, and the root file system last, so that it can grow. The tree brings ``/vmlinuz``, ``/initrd.img``
and ``/boot/grub/grub.cfg``; the recipe brings ``disk/early.cfg``, with which GRUB finds them.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labrun.tasks.provision.image_command import BuildError, run_command

__all__ = ["ROOT_LABEL", "VIRTUAL_SIZE", "build_disk", "patch_boot_sector", "patch_core"]

SECTOR = 512
MIB = 1024 * 1024
VIRTUAL_SIZE = 3 * 1024 * MIB
ROOT_LABEL = "labrun-root"

_GRUB = Path("/usr/lib/grub")
_MODULES = ("part_gpt", "ext2", "search", "search_label", "normal", "linux", "configfile", "test")

# GRUB's own offsets: include/grub/i386/pc/boot.h (kernel sector, drive check) and the block list at the
# end of the core's first sector.
_KERNEL_SECTOR_AT = 0x5C
_DRIVE_CHECK_AT = 0x66
_BLOCK_LIST_AT = SECTOR - 12


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: GPT type, where it starts and how long it is, both in sectors."""

    type: str
    start: int
    size: int


_ALIGNMENT = MIB // SECTOR
_BIOS_BOOT = Partition("21686148-6449-6E6F-744E-656564454649", _ALIGNMENT, _ALIGNMENT)
_ESP = Partition("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", 2 * _ALIGNMENT, 16 * _ALIGNMENT)
# Plain "Linux filesystem": the types that name a root are mounted by systemd on its own account.
_ROOT = Partition(
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    18 * _ALIGNMENT,
    VIRTUAL_SIZE // SECTOR - 18 * _ALIGNMENT - _ALIGNMENT,
)


def build_disk(
    rootfs: Path,
    recipe: Path,
    disk: Path,
    *,
    progress: Callable[[str, float], None],
    cancel: threading.Event | None = None,
) -> None:
    """Write ``disk`` (qcow2, :data:`VIRTUAL_SIZE` bytes) from the tree ``rootfs``.

    ``recipe`` is the recipe's directory. Intermediate files lie beside ``disk``. ``progress`` gets a stage
    and the part done, 0 to 1. Raises :class:`BuildError`.
    """
    raw = disk.with_suffix(".raw")
    progress("root file system", 0.0)
    with raw.open("wb") as file:
        file.truncate(VIRTUAL_SIZE)
    partitions = (f"start={p.start}, size={p.size}, type={p.type}" for p in (_BIOS_BOOT, _ESP, _ROOT))
    table = "\n".join(["label: gpt", *partitions])
    run_command(["sfdisk", "--quiet", str(raw)], step="partition table", feed=table, cancel=cancel)
    _make_root(rootfs, raw, cancel)
    progress("boot loader", 0.5)
    _make_esp(recipe, raw, cancel)
    _make_bios_boot(recipe, raw, cancel)
    progress("qcow2", 0.6)
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)]
    run_command(command, step="qcow2", cancel=cancel)
    raw.unlink()
    progress("qcow2", 1.0)


def _make_root(rootfs: Path, raw: Path, cancel: threading.Event | None) -> None:
    # The inode tables are written now: the kernel would do it in the background of the first boot.
    options = f"offset={_ROOT.start * SECTOR},root_owner=0:0,lazy_itable_init=0,nodiscard"
    command = [
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-m",
        "1",
        "-J",
        "size=16",
        "-L",
        ROOT_LABEL,
        "-E",
        options,
    ]
    size = f"{_ROOT.size * SECTOR // 1024}k"
    run_command([*command, "-d", str(rootfs), str(raw), size], step="root file system", cancel=cancel)


def _make_esp(recipe: Path, raw: Path, cancel: threading.Event | None) -> None:
    loader = raw.with_suffix(".efi")
    _grub_image("x86_64-efi", _MODULES, recipe, loader, cancel)
    size = str(_ESP.size * SECTOR // 1024)
    command = ["mkfs.fat", "-F", "16", "-n", "EFI", f"--offset={_ESP.start}", str(raw), size]
    run_command(command, step="ESP", cancel=cancel)
    where = f"{raw}@@{_ESP.start * SECTOR}"
    run_command(["mmd", "-i", where, "::/EFI", "::/EFI/BOOT"], step="ESP", cancel=cancel)
    run_command(["mcopy", "-i", where, str(loader), "::/EFI/BOOT/BOOTX64.EFI"], step="ESP", cancel=cancel)
    loader.unlink()


def _make_bios_boot(recipe: Path, raw: Path, cancel: threading.Event | None) -> None:
    core_file = raw.with_suffix(".core")
    _grub_image("i386-pc", ("biosdisk", *_MODULES), recipe, core_file, cancel)
    core = core_file.read_bytes()
    core_file.unlink()
    if len(core) > _BIOS_BOOT.size * SECTOR:
        raise BuildError(f"GRUB's core of {len(core)} bytes does not fit its partition", step="boot loader")
    with raw.open("r+b") as file:
        table = file.read(SECTOR)
        file.seek(0)
        file.write(patch_boot_sector((_GRUB / "i386-pc" / "boot.img").read_bytes(), table, _BIOS_BOOT.start))
        file.seek(_BIOS_BOOT.start * SECTOR)
        file.write(patch_core(core, _BIOS_BOOT.start))


def _grub_image(
    target: str, modules: tuple[str, ...], recipe: Path, output: Path, cancel: threading.Event | None
) -> None:
    if not (_GRUB / target).is_dir():
        raise BuildError(f"GRUB for {target} is not here", step="boot loader", hint="run scripts/install")
    early = str(recipe / "disk" / "early.cfg")
    command = ["grub-mkimage", "-O", target, "-o", str(output), "-p", "/boot/grub", "-c", early, *modules]
    run_command(command, step="boot loader", cancel=cancel)


def patch_boot_sector(boot: bytes, table: bytes, core_at: int) -> bytes:
    """Return GRUB's boot sector for this disk.

    ``boot`` is ``boot.img``, ``table`` the disk's first sector with its partition table, ``core_at`` the
    sector of GRUB's core. What grub-bios-setup does on a block device.
    """
    sector = bytearray(boot)
    # The disk's signature and the protective partition table stay.
    sector[0x1B8:0x1FE] = table[0x1B8:0x1FE]
    struct.pack_into("<Q", sector, _KERNEL_SECTOR_AT, core_at)
    # Two NOPs in place of a jump: trust the drive number that the firmware hands over.
    sector[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + 2] = b"\x90\x90"
    return bytes(sector)


def patch_core(core: bytes, core_at: int) -> bytes:
    """Return GRUB's core with the block list naming the sector after its first; lengths are there already."""
    patched = bytearray(core)
    struct.pack_into("<Q", patched, _BLOCK_LIST_AT, core_at + 1)
    return bytes(patched)
