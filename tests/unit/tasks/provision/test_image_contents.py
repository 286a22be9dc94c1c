"""What can be read of an image's system without starting it: only what surely is not there is missed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from labrun.errors import LabrunError
from labrun.tasks.provision.image_contents import missing_in
from labrun.tasks.provision.image_import import import_image
from tests.unit.tasks.provision.image_files import converted, needs_qemu_img, qcow2

pytestmark = [
    needs_qemu_img,
    pytest.mark.skipif(
        not all(map(shutil.which, ("mke2fs", "debugfs", "sfdisk"))), reason="needs mke2fs, debugfs and sfdisk"
    ),
]
SYSTEM = ("etc/os-release", "usr/bin/env")
WHOLE = (*SYSTEM, "usr/bin/cloud-init", "usr/sbin/sshd")
_MIB = 1024 * 1024
_START = 1 * _MIB


def disk(folder: Path, files: tuple[str, ...], *, partitioned: bool = True, kind: str = "ext4") -> Path:
    """Return a qcow2 whose system has these files."""
    root = folder / "root"
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    raw = folder / "made.raw"
    with raw.open("wb") as file:
        file.truncate(16 * _MIB)
    if partitioned:
        table = "label: gpt\nstart=2048, size=28000, type=linux\n"
        subprocess.run(["sfdisk", "-q", raw], input=table, text=True, check=True, capture_output=True)
    options = ["-q", "-t", kind, "-d", str(root), "-E", f"offset={_START if partitioned else 0}"]
    subprocess.run(["mke2fs", *options, str(raw), "12M"], check=True, capture_output=True)
    return converted(raw, folder / "made.qcow2")


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (WHOLE, []),
        (SYSTEM, ["cloud-init", "sshd"]),
        ((*SYSTEM, "usr/bin/cloud-init"), ["sshd"]),
        ((*SYSTEM, "usr/sbin/sshd", "opt/cloud-init"), ["cloud-init"]),
        # Not a root file system, or not all of it: nothing is known.
        (("boot/vmlinuz",), []),
        (("etc/os-release", "etc/passwd"), []),
    ],
)
def test_what_is_missing(files: tuple[str, ...], missing: list[str], tmp_path: Path) -> None:
    assert [each.name for each in missing_in(disk(tmp_path, files), tmp_path)] == missing
    assert not list(tmp_path.glob(".import-look-*"))


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_a_file_system_without_a_partition_around_it(kind: str, tmp_path: Path) -> None:
    made = disk(tmp_path, SYSTEM, partitioned=False, kind=kind)
    assert [each.name for each in missing_in(made, tmp_path)] == ["cloud-init", "sshd"]


def test_nothing_is_said_of_what_cannot_be_read(tmp_path: Path) -> None:
    assert missing_in(qcow2(tmp_path / "made.qcow2"), tmp_path) == ()


def test_what_would_fill_the_disk_is_not_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = disk(tmp_path, SYSTEM)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=200 * _MIB))
    assert missing_in(made, tmp_path) == ()


def test_an_image_without_them_is_refused_and_one_with_them_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(tmp_path / "images"))
    for name, files in (("bare", SYSTEM), ("whole", WHOLE)):
        (tmp_path / name).mkdir()
        made = disk(tmp_path / name, files)
        if name == "whole":
            assert import_image(made, name).name == name
            continue
        with pytest.raises(LabrunError) as caught:
            import_image(made, name)
        assert str(caught.value) == (
            f"image: the system in {made} has no cloud-init (nothing would make the login user),"
            " and no sshd (nobody could log in)"
            " (take the vendor's cloud image, or install what is missing)"
        )
    assert sorted(path.name for path in (tmp_path / "images").iterdir() if path.is_symlink()) == ["whole"]
