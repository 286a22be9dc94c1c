"""Judge a file that is said to be a disk image, by its own first bytes: nothing else parses it before.

The layouts are those of QEMU's docs/interop/qcow2.rst and of each format's own description.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from labrun.errors import LabrunError

__all__ = ["judge_image"]

_QCOW2: Final = b"QFI\xfb"
# Magic, version, backing offset and size, cluster bits, virtual size, encryption, L1 entries and offset,
# refcount table's offset and clusters; then incompatible features and the header's length of version 3.
_HEADER: Final = struct.Struct(">4sIQIIQIIQQI")
_FEATURES_AT, _LENGTH_AT, _LENGTH_OF_2, _LENGTH_OF_3 = 72, 100, 72, 104
_DIRTY, _CORRUPT, _DATA_FILE, _KNOWN = 1, 2, 4, 0b11111
_NAME_OF_DATA_FILE, _END = 0x44415441, 0
_CLUSTER_BITS: Final = range(9, 22)
_LARGEST: Final = 64 * 2**40
"""Bytes of virtual size that labrun believes: beyond what any image for a lab has."""
_HEAD: Final = 64 * 1024
"""Bytes that are read; an ISO's mark is the last, at 32 KiB."""
_LONGEST_NAME: Final = 1023


class _Mark(NamedTuple):
    """The bytes at an offset that tell a kind, in words that follow "is", and what to do about it."""

    offset: int
    magic: bytes
    kind: str
    hint: str


_CONVERT: Final = "qemu-img convert -O qcow2 {path} {stem}.qcow2"
_UNPACK: Final = "unpack it first: {command} {path}"
_MEDIUM: Final = (
    "labrun installs nothing: take the vendor's cloud image, a qcow2 with an installed system and cloud-init"
)
_BOOTABLE: Final = "a disk image has a partition table and a boot loader: take the vendor's cloud image"

_MARKS: Final[Sequence[_Mark]] = (
    # First: media that also start from USB have a partition table too.
    _Mark(32769, b"CD001", "an ISO 9660 medium, which installs or shows a system", _MEDIUM),
    _Mark(0, b"QFI\xfb\0\0\0\x01", "a qcow of version 1, which QEMU no longer writes", _CONVERT),
    _Mark(0, b"KDMV", "a VMDK of VMware, not qcow2", _CONVERT),
    _Mark(0, b"COWD", "a VMDK of VMware, not qcow2", _CONVERT),
    _Mark(0, b"# Disk DescriptorFile", "a VMDK that keeps its data in other files", _CONVERT),
    _Mark(0, b"vhdxfile", "a VHDX of Hyper-V, not qcow2", _CONVERT),
    _Mark(0, b"conectix", "a VHD of Hyper-V, not qcow2", _CONVERT),
    _Mark(64, b"\x7f\x10\xda\xbe", "a VDI of VirtualBox, not qcow2", _CONVERT),
    _Mark(0, b"QED\0", "a QED image, not qcow2", _CONVERT),
    _Mark(0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)", "labrun has no key for it"),
    _Mark(0, b"\x1f\x8b", "compressed (gzip)", _UNPACK.replace("{command}", "gunzip")),
    _Mark(0, b"\xfd7zXZ\0", "compressed (xz)", _UNPACK.replace("{command}", "unxz")),
    _Mark(0, b"BZh", "compressed (bzip2)", _UNPACK.replace("{command}", "bunzip2")),
    _Mark(0, b"\x28\xb5\x2f\xfd", "compressed (zstd)", _UNPACK.replace("{command}", "unzstd")),
    _Mark(0, b"PK\x03\x04", "a ZIP archive", _UNPACK.replace("{command}", "unzip")),
    _Mark(257, b"ustar", "a tar archive (OVA files are)", _UNPACK.replace("{command}", "tar -xf")),
    _Mark(512, b"EFI PART", "a raw disk, not qcow2", _CONVERT.replace("-O", "-f raw -O")),
    _Mark(4096, b"EFI PART", "a raw disk, not qcow2", _CONVERT.replace("-O", "-f raw -O")),
    _Mark(1080, b"\x53\xef", "a file system (ext2, ext3 or ext4) without a disk around it", _BOOTABLE),
    _Mark(0, b"XFSB", "a file system (XFS) without a disk around it", _BOOTABLE),
    _Mark(0, b"hsqs", "a file system (SquashFS) without a disk around it", _BOOTABLE),
    _Mark(510, b"\x55\xaa", "a raw disk, not qcow2", _CONVERT.replace("-O", "-f raw -O")),
)


def judge_image(path: Path) -> int:
    """Return the virtual size in bytes of a complete qcow2. Raises LabrunError that says what it is instead.

    QEMU on the hypervisor opens the files that a qcow2 refers to (backing file, data file) as root would, so
    an image must not refer to any. Reads at most 64 KiB and two names, whatever the header says.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            size = file.seek(0, 2)
            if head.startswith(_QCOW2) and head[4:8] != b"\0\0\0\x01":
                return _of_qcow2(path, file, head, size)
    except OSError as error:
        raise _refusal(f"{path} cannot be read: {error.strerror}") from error
    raise _of_another_kind(path, head, size)


def _refusal(reason: str, hint: str | None = None) -> LabrunError:
    return LabrunError(reason, step="image", hint=hint)


def _of_another_kind(path: Path, head: bytes, size: int) -> LabrunError:
    if not size:
        return _refusal(f"{path} is empty", "download it again")
    for mark in _MARKS:
        if head.startswith(mark.magic, mark.offset):
            hint = mark.hint.format(path=path, stem=path.name.split(".")[0])
            return _refusal(f"{path} is {mark.kind}", hint)
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return _refusal(f"{path} is a web page, not an image", "look at what the server says, with a browser")
    return _refusal(f"{path} is not a disk image that labrun knows", "labrun takes qcow2")


def _of_qcow2(path: Path, file: IO[bytes], head: bytes, size: int) -> int:
    """Return the virtual size by the header, or refuse."""
    short = _refusal(f"{path} is cut off: it ends after {size} bytes", "download it again")
    if len(head) < _LENGTH_OF_3:
        raise short
    fields = _HEADER.unpack_from(head)
    version, backing_at, backing_length, cluster_bits, virtual, crypt, entries, l1_at, counts_at, counts = (
        fields[1:]
    )
    if version not in (2, 3):
        raise _refusal(f"{path} is a qcow of version {version}, and labrun knows 2 and 3")
    incompatible, length = 0, _LENGTH_OF_2
    if version == 3:
        (incompatible,) = struct.unpack_from(">Q", head, _FEATURES_AT)
        (length,) = struct.unpack_from(">I", head, _LENGTH_AT)
    makes_no_sense = _refusal(f"{path} is damaged: its header makes no sense", "download it again")
    if cluster_bits not in _CLUSTER_BITS or not _LENGTH_OF_2 <= length <= 2**cluster_bits or length % 8:
        raise makes_no_sense
    if backing_at or backing_length:
        name = _name_at(file, backing_at, backing_length) if backing_at < size else ""
        raise _refusal(
            f"{path} is only an overlay on {name or 'another file'}",
            f"qemu-img convert -O qcow2 {path} {path.stem}-full.qcow2 makes it complete",
        )
    if incompatible & _DATA_FILE:
        name = _data_file(head, length)
        raise _refusal(f"{path} keeps its data in another file" + (f", {name}" if name else ""))
    if crypt:
        raise _refusal(f"{path} is encrypted", "labrun has no key for it")
    if incompatible & (_DIRTY | _CORRUPT):
        raise _refusal(f"{path} is damaged or was not closed", f"qemu-img check -r all {path}")
    if incompatible & ~_KNOWN:
        raise _refusal(f"{path} needs features of qcow2 that labrun does not know ({incompatible:#x})")
    if not 0 < virtual <= _LARGEST:
        raise _refusal(f"{path} says that its disk has {virtual} bytes", "labrun takes 1 byte to 64 TiB")
    if not l1_at or not counts_at:
        raise makes_no_sense
    if max(l1_at + 8 * entries, counts_at + (counts << cluster_bits)) > size:
        raise short
    return int(virtual)


def _name_at(file: IO[bytes], offset: int, length: int) -> str:
    file.seek(offset)
    return _spelled(file.read(min(length, _LONGEST_NAME)))


def _data_file(head: bytes, length: int) -> str:
    """Return the name in the header's extensions, empty if there is none in the bytes that were read."""
    offset = length
    while offset + 8 <= len(head):
        kind, size = struct.unpack_from(">II", head, offset)
        if kind == _END or size > _HEAD:
            break
        if kind == _NAME_OF_DATA_FILE:
            return _spelled(head[offset + 8 : offset + 8 + min(size, _LONGEST_NAME)])
        offset += 8 + (size + 7) // 8 * 8
    return ""


def _spelled(name: bytes) -> str:
    text = name.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
