"""Copies of an overlay's upper layer on the real file system have all that an overlay reads of a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from labrun.tasks.snapshots.differences import Layers, changes
from labrun.tasks.snapshots.tree_copy import copy_file, copy_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts and trusted xattrs need root")


def upper(directory: Path) -> Path:
    """Make an upper layer with one of each kind that an overlay leaves in it."""
    made = directory / "upper"
    (made / "etc").mkdir(parents=True, mode=0o750)
    (made / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (made / "etc/hosts").chmod(0o644)
    (made / "etc/shadow").write_text("root:!\n")
    (made / "etc/shadow").chmod(0o640)
    os.chown(made / "etc/shadow", 0, 42)
    (made / "etc/localtime").symlink_to("/usr/share/zoneinfo/UTC")
    os.mknod(made / "etc/motd", stat.S_IFCHR, 0)
    (made / "var").mkdir()
    os.setxattr(made / "var", "trusted.overlay.opaque", b"y")
    os.link(made / "etc/hosts", made / "var/hosts")
    os.mkfifo(made / "var/pipe", 0o600)
    with (made / "var/sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    os.utime(made / "var", ns=(10**18, 10**18 + 7))
    return made


def seen(tree: Path) -> dict[str, tuple[object, ...]]:
    """Return what matters of each path below a directory."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        names = os.listxattr(path, follow_symlinks=False)
        xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        target = str(path.readlink()) if path.is_symlink() else ""
        found[str(path.relative_to(tree))] = (
            *(status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns),
            *(xattrs, target, content),
        )
    return found


def test_a_copy_is_the_same_in_everything_that_an_overlay_reads(tmp_path: Path) -> None:
    source = upper(tmp_path)
    done = copy_tree(source, tmp_path / "copy")
    assert seen(tmp_path / "copy") == seen(source)
    one, other = tmp_path / "copy/etc/hosts", tmp_path / "copy/var/hosts"
    assert one.stat().st_ino == other.stat().st_ino != (source / "etc/hosts").stat().st_ino
    assert (tmp_path / "copy/var/sparse").stat().st_blocks * 512 < 1 << 20
    assert (done.files, done.size < 1 << 20) == (6, True)


def test_a_second_copy_shares_what_has_not_changed_and_nothing_else(tmp_path: Path) -> None:
    source = upper(tmp_path)
    first = copy_tree(source, tmp_path / "first")
    (source / "etc/shadow").write_text("root:*\n")
    # As long as before and with its former time: only the kernel's own time tells.
    os.utime(source / "etc/shadow", ns=(0, (tmp_path / "first/etc/shadow").stat().st_mtime_ns))
    copy_tree(source, tmp_path / "second", tmp_path / "first", first.index)
    assert seen(tmp_path / "second") == seen(source)
    inodes = [(tmp_path / name / "var/sparse").stat().st_ino for name in ("first", "second")]
    assert inodes[0] == inodes[1]
    assert (tmp_path / "first/etc/shadow").read_text() == "root:!\n"
    assert (tmp_path / "second/etc/shadow").read_text() == "root:*\n"


def test_a_file_that_is_there_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("new")
    (tmp_path / "other").write_text("kept")
    with pytest.raises(FileExistsError):
        copy_file(str(tmp_path / "one"), str(tmp_path / "other"))
    assert (tmp_path / "other").read_text() == "kept"


def test_differences_are_those_that_the_container_sees(tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "etc").mkdir(parents=True)
    (image / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (image / "etc/motd").write_text("hello\n")
    (image / "var").mkdir()
    (image / "var/only-in-the-image").write_text("x")
    for path in ("etc", "etc/hosts", "etc/motd", "var"):
        os.chmod(image / path, 0o755 if (image / path).is_dir() else 0o644)  # noqa: PTH101
    before = tmp_path / "before"
    (before / "etc").mkdir(parents=True)
    after = tmp_path / "after"
    (after / "etc").mkdir(parents=True)
    (after / "var").mkdir()
    for folder in (before / "etc", after / "etc", after / "var"):
        folder.chmod(0o755)
    # Copied up but the same: no difference. Whited out: gone. Opaque: gone with all below.
    (after / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (after / "etc/hosts").chmod(0o644)
    os.mknod(after / "etc/motd", stat.S_IFCHR, 0)
    os.setxattr(after / "var", "trusted.overlay.opaque", b"y")
    (after / "var/only-in-the-image").mkdir()
    (after / "etc/secret").write_text("token\n")
    (after / "etc/secret").chmod(0o600)
    found = {each.path: each for each in changes(Layers(before, image), Layers(after, image))}
    kinds = {path: each.kind for path, each in found.items()}
    assert kinds == {"etc/motd": "removed", "etc/secret": "added", "var/only-in-the-image": "changed"}
    assert found["etc/motd"].diff == "--- etc/motd (snapshot)\n+++ etc/motd (now)\n@@ -1 +0,0 @@\n-hello"
    assert found["etc/secret"].diff is None
