"""What a file says of itself: only a complete qcow2 that can start is an image, all else has a name."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pycdlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.errors import LabrunError
from labrun.tasks.provision.image_format import judge_image
from labrun.tasks.provision.image_integrity import require_room_for, require_sound
from tests.unit.command_line import run_labrun
from tests.unit.tasks.provision.image_files import SIZE, boot_disk, converted, needs_qemu_img, qcow2


def _refusal(path: Path) -> str:
    with pytest.raises(LabrunError) as caught:
        judge_image(path)
    return str(caught.value).replace(str(path), "FILE")


def _patched(path: Path, offset: int, data: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


@needs_qemu_img
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-c",),
        ("-o", "compat=0.10"),
        ("-o", "cluster_size=512"),
        ("-o", "cluster_size=2M"),
        ("-o", "extended_l2=on"),
        ("-c", "-o", "compression_type=zstd"),
    ],
)
def test_whatever_qemu_writes_as_one_qcow2_is_an_image(options: tuple[str, ...], tmp_path: Path) -> None:
    path = qcow2(tmp_path / "disk.qcow2", *options)
    assert judge_image(path) == SIZE
    require_sound(path)


@needs_qemu_img
@pytest.mark.parametrize(
    ("to", "kind", "convert"),
    [
        ("vmdk", "a VMDK of VMware, not qcow2", ""),
        ("vdi", "a VDI of VirtualBox, not qcow2", ""),
        ("vhdx", "a VHDX of Hyper-V, not qcow2", ""),
        ("vpc", "a VHD of Hyper-V, not qcow2", ""),
        ("qed", "a QED image, not qcow2", ""),
        ("raw", "a raw disk, not qcow2", "-f raw "),
        ("qcow", "a qcow of version 1, which QEMU no longer writes", ""),
    ],
)
def test_a_disk_of_another_format_is_named_and_the_hint_converts_it(
    to: str, kind: str, convert: str, tmp_path: Path
) -> None:
    path = qcow2(tmp_path / "disk.img", to=to)
    hint = f"qemu-img convert {convert}-O qcow2 {path} disk.qcow2"
    with pytest.raises(LabrunError) as caught:
        judge_image(path)
    assert str(caught.value) == f"image: {path} is {kind} ({hint})"
    subprocess.run(hint.split(), check=True, cwd=tmp_path, capture_output=True)
    assert judge_image(tmp_path / "disk.qcow2") >= SIZE


def _iso(path: Path, *, hybrid: bool = False) -> None:
    medium = pycdlib.PyCdlib()
    medium.new()
    medium.write(str(path))
    medium.close()
    if hybrid:
        _patched(path, 510, b"\x55\xaa")


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("disk.vmdk")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"one"))


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("disk.qcow2", b"one")


def _ext4(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(4 * SIZE)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(path)], check=True)


MEDIUM = (
    "labrun installs nothing: take the vendor's cloud image, a qcow2 with an installed system and cloud-init"
)
BOOTABLE = "a disk image has a partition table and a boot loader: take the vendor's cloud image"
OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "ISO": (_iso, f"FILE is an ISO 9660 medium, which installs or shows a system ({MEDIUM})"),
    "ISO for USB": (
        lambda path: _iso(path, hybrid=True),
        f"FILE is an ISO 9660 medium, which installs or shows a system ({MEDIUM})",
    ),
    "gzip": (
        lambda path: path.write_bytes(gzip.compress(boot_disk())),
        "FILE is compressed (gzip) (unpack it first: gunzip FILE)",
    ),
    "xz": (
        lambda path: path.write_bytes(lzma.compress(boot_disk())),
        "FILE is compressed (xz) (unpack it first: unxz FILE)",
    ),
    "bzip2": (
        lambda path: path.write_bytes(bz2.compress(boot_disk())),
        "FILE is compressed (bzip2) (unpack it first: bunzip2 FILE)",
    ),
    "tar": (_tar, "FILE is a tar archive (OVA files are) (unpack it first: tar -xf FILE)"),
    "ZIP": (_zip, "FILE is a ZIP archive (unpack it first: unzip FILE)"),
    "ext4": (_ext4, f"FILE is a file system (ext2, ext3 or ext4) without a disk around it ({BOOTABLE})"),
    "page": (
        lambda path: path.write_text("\n<!DOCTYPE html><title>404</title>"),
        "FILE is a web page, not an image (look at what the server says, with a browser)",
    ),
    "empty": (lambda path: path.write_bytes(b""), "FILE is empty (download it again)"),
    "zeros": (
        lambda path: path.write_bytes(bytes(4096)),
        "FILE is not a disk image that labrun knows (labrun takes qcow2)",
    ),
    "text": (
        lambda path: path.write_text("name: lab\n"),
        "FILE is not a disk image that labrun knows (labrun takes qcow2)",
    ),
    "only the mark": (
        lambda path: path.write_bytes(b"QFI\xfb\0\0\0\x03"),
        "FILE is cut off: it ends after 8 bytes (download it again)",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_disk_is_refused_for_what_it_is(kind: str, tmp_path: Path) -> None:
    make, why = OTHERS[kind]
    path = tmp_path / "given.img"
    make(path)
    assert _refusal(path) == f"image: {why}"


SENSELESS = "FILE is damaged: its header makes no sense (download it again)"
MADE_WHOLE = "qemu-img convert -O qcow2 FILE disk-full.qcow2 makes it complete"
HEADERS = {
    # As qemu-img writes them; it takes its time for the key of a LUKS header, and sometimes too much.
    "encrypted with AES": (32, ">I", 1, "FILE is encrypted (labrun has no key for it)"),
    "encrypted with LUKS": (32, ">I", 2, "FILE is encrypted (labrun has no key for it)"),
    "version": (4, ">I", 4, "FILE is a qcow of version 4, and labrun knows 2 and 3"),
    "tiny clusters": (20, ">I", 8, SENSELESS),
    "huge clusters": (20, ">I", 63, SENSELESS),
    "header beyond its cluster": (100, ">I", 2**31, SENSELESS),
    "no clusters": (40, ">Q", 0, SENSELESS),
    "no disk": (24, ">Q", 0, "FILE says that its disk has 0 bytes (labrun takes 1 byte to 64 TiB)"),
    "endless disk": (
        24,
        ">Q",
        2**63,
        f"FILE says that its disk has {2**63} bytes (labrun takes 1 byte to 64 TiB)",
    ),
    "not closed": (72, ">Q", 1, "FILE is damaged or was not closed (qemu-img check -r all FILE)"),
    "known to be damaged": (72, ">Q", 2, "FILE is damaged or was not closed (qemu-img check -r all FILE)"),
    "of the future": (
        72,
        ">Q",
        1 << 40,
        "FILE needs features of qcow2 that labrun does not know (0x10000000000)",
    ),
    "backing file out of reach": (
        8,
        ">Q",
        2**62,
        f"FILE is only an overlay on another file ({MADE_WHOLE})",
    ),
    "data elsewhere, unnamed": (72, ">Q", 4, "FILE keeps its data in another file"),
}


@needs_qemu_img
@pytest.mark.parametrize("what", HEADERS)
def test_a_header_that_lies_is_refused_without_being_followed(what: str, tmp_path: Path) -> None:
    offset, form, value, why = HEADERS[what]
    path = _patched(qcow2(tmp_path / "disk.qcow2"), offset, struct.pack(form, value))
    assert _refusal(path) == f"image: {why}"


@needs_qemu_img
def test_a_backing_file_name_that_is_a_terminal_sequence_is_spelled(tmp_path: Path) -> None:
    path = qcow2(tmp_path / "disk.qcow2")
    _patched(path, 8, struct.pack(">QI", 600, 8))
    _patched(path, 600, b"\x1b[2J/etc")
    assert _refusal(path).startswith("image: FILE is only an overlay on ?[2J/etc (")


@needs_qemu_img
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_download_that_was_cut_off_is_no_image(share: float, tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(boot_disk() + os.urandom(4 * SIZE))
    path = converted(raw, tmp_path / "disk.qcow2")
    os.truncate(path, int(path.stat().st_size * share))

    def judge() -> None:
        judge_image(path)
        require_sound(path)

    with pytest.raises(LabrunError, match=r"is (cut off: it ends|damaged or cut off)"):
        judge()


@needs_qemu_img
def test_a_table_that_was_overwritten_is_found(tmp_path: Path) -> None:
    path = qcow2(tmp_path / "disk.qcow2")
    (table,) = struct.unpack(">Q", path.read_bytes()[40:48])
    _patched(path, table, struct.pack(">Q", 1 << 63 | 0x10000))
    judge_image(path)
    with pytest.raises(LabrunError, match=r"is damaged or cut off \(download it again, or compare its"):
        require_sound(path)


@needs_qemu_img
def test_a_disk_without_anything_that_starts_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "root.raw"
    _ext4(raw)
    path = converted(raw, tmp_path / "root.qcow2")
    judge_image(path)
    with pytest.raises(LabrunError) as caught:
        require_sound(path)
    assert str(caught.value) == (
        f"image: the disk in {path} has no boot sector and no partition table, so nothing can start from it "
        "(take an image that boots by itself, such as the vendor's cloud image)"
    )


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    require_room_for(0, tmp_path)
    with pytest.raises(
        LabrunError, match=r"^image: 1099511627776 MiB do not fit: .* MiB left \(`labrun image"
    ):
        require_room_for(2**60, tmp_path)


@given(st.binary(max_size=200), st.integers(min_value=0, max_value=110), st.binary(max_size=16))
def test_no_bytes_make_it_fail_otherwise_than_by_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, at: int, patch: bytes
) -> None:
    """Random headers behind a good beginning: each is judged or refused."""
    head = bytearray(struct.pack(">4sIQIIQIIQQI", b"QFI\xfb", 3, 0, 0, 16, SIZE, 0, 1, 200, 208, 0))
    head = head.ljust(104, b"\0")
    head[100:104] = struct.pack(">I", 104)
    head[at : at + len(patch)] = patch
    path = tmp_path_factory.mktemp("random") / "disk"
    path.write_bytes(bytes(head) + tail)
    with contextlib.suppress(LabrunError):
        assert judge_image(path) > 0


def test_the_command_says_it_and_stores_nothing(tmp_path: Path) -> None:
    path = tmp_path / "debian.iso"
    _iso(path)
    env = {"LABRUN_IMAGE_DIR": str(tmp_path / "images")}
    done = run_labrun("image", "import", str(path), cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert f"{path} is an ISO 9660 medium, which installs or shows a system" in done.stderr
    assert f"hint: {MEDIUM}" in done.stderr
    assert not (tmp_path / "images").exists()
