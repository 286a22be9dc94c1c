"""Copy a container's upper layer with all that an overlay keeps in it: whiteouts, xattrs, hard links, holes.

What has not changed since an earlier copy is not copied again but linked to it: copies are never written to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["TreeCopy", "copy_file", "copy_tree"]

_FICLONE = 0x40049409  # linux/fs.h
_NO_CLONE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS)
_NO_XATTR = (errno.EOPNOTSUPP, errno.ENODATA)
_CHUNK = 1 << 30

Index = Mapping[str, tuple[int, int, int]]
"""Inode, time of the last change (ns) and size of each regular file of a source, by relative path.

The kernel sets that time itself: a file with the same three is the same file with the same content.
"""


@dataclass(slots=True)
class TreeCopy:
    """What a copy has taken: ``size`` is in bytes and counts what is not shared with the earlier copy."""

    index: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    size: int = 0
    files: int = 0


def copy_tree(
    source: Path, target: Path, earlier: Path | None = None, known: Index | None = None
) -> TreeCopy:
    """Copy a directory to ``target``, which must not exist, and return what was taken.

    ``earlier`` is an earlier copy of the same source, ``known`` the index of that. Raises OSError.
    """
    done = TreeCopy()
    _Copier(source, target, earlier, known or {}, done).directory("")
    return done


@dataclass(slots=True)
class _Copier:
    source: Path
    target: Path
    earlier: Path | None
    known: Index
    done: TreeCopy
    _linked: dict[int, str] = field(default_factory=dict)

    def directory(self, relative: str) -> None:
        """Copy one directory and all below it; its times come last."""
        path, made = f"{self.source}/{relative}", f"{self.target}/{relative}"
        Path(made).mkdir()
        with os.scandir(path) as entries:
            for entry in entries:
                below = f"{relative}/{entry.name}" if relative else entry.name
                seen = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(seen.st_mode):
                    self.directory(below)
                else:
                    self._entry(below, seen)
        _dress(path, made, os.lstat(path))

    def _entry(self, relative: str, seen: os.stat_result) -> None:
        path, made = f"{self.source}/{relative}", f"{self.target}/{relative}"
        if seen.st_nlink > 1:
            if (first := self._linked.get(seen.st_ino)) is not None:
                os.link(f"{self.target}/{first}", made, follow_symlinks=False)
                return
            self._linked[seen.st_ino] = relative
        self.done.files += 1
        if stat.S_ISREG(seen.st_mode):
            identity = (seen.st_ino, seen.st_ctime_ns, seen.st_size)
            self.done.index[relative] = identity
            if self.earlier is not None and self.known.get(relative) == identity:
                with contextlib.suppress(OSError):
                    os.link(f"{self.earlier}/{relative}", made, follow_symlinks=False)
                    return
            self.done.size += copy_file(path, made)
            return
        if stat.S_ISLNK(seen.st_mode):
            Path(made).symlink_to(Path(path).readlink())
        else:
            # A whiteout is a character device with the number 0.
            os.mknod(made, seen.st_mode, seen.st_rdev)
        _dress(path, made, seen)


def copy_file(source: str, target: str) -> int:
    """Copy a regular file with owner, mode, xattrs, times and holes, and return the bytes that it takes.

    Where the file system can, the blocks are shared until one side writes. Raises OSError.
    """
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOATIME)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            seen = os.fstat(reading)
            if not _cloned(reading, writing):
                os.ftruncate(writing, seen.st_size)
                for offset, length in _extents(reading, seen.st_size):
                    _copy_range(reading, writing, offset, length)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    _dress(source, target, seen)
    return seen.st_blocks * 512


def _cloned(reading: int, writing: int) -> bool:
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError as error:
        if error.errno not in _NO_CLONE:
            raise
        return False
    return True


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of what a file has between its holes."""
    position = 0
    while position < size:
        try:
            begin = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        position = os.lseek(descriptor, begin, os.SEEK_HOLE)
        yield begin, position - begin


def _copy_range(reading: int, writing: int, offset: int, length: int) -> None:
    end = offset + length
    while offset < end:
        done = os.copy_file_range(reading, writing, min(end - offset, _CHUNK), offset, offset)
        if done == 0:  # the file was cut off meanwhile
            return
        offset += done


def _dress(source: str, target: str, seen: os.stat_result) -> None:
    """Give a copy the owner, mode, xattrs and times of its source, in the order in which they stay."""
    os.chown(target, seen.st_uid, seen.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(seen.st_mode):
        Path(target).chmod(stat.S_IMODE(seen.st_mode))
    try:
        for name in os.listxattr(source, follow_symlinks=False):
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_XATTR:
            raise
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns), follow_symlinks=False)
