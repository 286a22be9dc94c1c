"""Write output to the path given by the user: a file, standard output, a FIFO or a device.

``-`` is standard output, in place of the table. A regular file of the user is replaced atomically. A FIFO
or a device is written to: replacing /dev/stdout, or a symlink, by a file would break other users of that
path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

from labrun.errors import LabrunError
from labrun.state_folders import trusted_owners

__all__ = ["STDOUT", "GivenPath", "OutputFile", "is_stdout", "write_output"]

STDOUT: Final = Path("-")
Parts: TypeAlias = "Iterable[str] | Iterable[bytes]"
_FLAGS: Final = os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
# Paths of open descriptors. Their file offset is shared with other processes.
_DESCRIPTOR: Final = re.compile(r"(?:/dev/fd|/proc/(?:self|thread-self)/fd)/(?P<number>\d{1,9})")
_STANDARD: Final = {"/dev/stdout": 1, "/dev/stderr": 2}


class GivenPath(click.Path):
    """A path that somebody has given: not an empty one, as an unset variable of a script makes it."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path. An empty one would be the current folder."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class OutputFile(GivenPath):
    """The type of every option that takes an output path; ``-`` is standard output."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, allow_dash=True, path_type=Path)


def is_stdout(value: object) -> bool:
    """Return whether an option's value, of whatever type, means standard output."""
    return value == STDOUT


def write_output(
    path: Path,
    text: str | Iterable[str] | Iterable[bytes],
    *,
    append: bool = False,
    grows: bool = False,
    mode: int | None = None,
    kind: str = "",
) -> None:
    """Write the text, or its parts as they arrive, to this path; ``append`` adds to a file.

    Parts that are bytes are written at once, for a reader at the other end of a pipe. ``grows`` = a file is
    written as they come, and what has come stays if the rest does not.

    ``mode`` is for a new file: by default the mode of the replaced file, or 0666 less the umask. ``kind``
    describes the output in messages. Raises LabrunError; a file that was to be replaced is then unchanged.
    """
    parts: Parts = (text,) if isinstance(text, str) else text
    try:
        descriptor = _descriptor_of(path)
        present = None if descriptor is not None else _what_is_there(path)
        if descriptor is not None:
            sys.stdout.flush()
            _write(os.dup(descriptor), parts)
        elif present is not None and not stat.S_ISREG(present.st_mode):
            _write_through(path, present, parts)
        elif append:
            _write_into(path, parts, os.O_APPEND | os.O_CREAT)
        elif grows:
            _write_into(path, parts, os.O_TRUNC | os.O_CREAT)
        elif present is None or (present.st_uid == os.geteuid() and present.st_nlink == 1):
            _replace(path.resolve(), present, parts, mode)
        else:
            # A replacement would lose the file's owner or its other hard links.
            _write_into(path, parts, os.O_TRUNC)
    except OSError as error:
        raise LabrunError(f"cannot write {kind}{path}: {error.strerror}") from error


def _descriptor_of(path: Path) -> int | None:
    match = _DESCRIPTOR.fullmatch(str(path))
    return int(match["number"]) if match is not None else _STANDARD.get(str(path))


def _what_is_there(path: Path) -> os.stat_result | None:
    try:
        link = path.lstat()
        if stat.S_ISLNK(link.st_mode) and link.st_uid not in trusted_owners():
            # In /tmp any user can create a symlink that leads to one of root's files.
            raise OSError(errno.EPERM, f"it is a link that belongs to uid {link.st_uid}")
        return path.stat()
    except FileNotFoundError:
        return None


def _write_through(path: Path, present: os.stat_result, parts: Parts) -> None:
    if stat.S_ISDIR(present.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (stat.S_ISFIFO(present.st_mode) or stat.S_ISCHR(present.st_mode)):
        raise OSError(errno.EINVAL, "not a file, FIFO or character device")
    try:
        descriptor = os.open(path, _FLAGS | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO and stat.S_ISFIFO(present.st_mode):
            raise OSError(errno.ENXIO, "no process reads this FIFO") from None
        raise
    os.set_blocking(descriptor, True)
    _write(descriptor, parts)


def _write_into(path: Path, parts: Parts, flags: int) -> None:
    _write(os.open(path, _FLAGS | flags, 0o666), parts)


def _write(descriptor: int, parts: Parts) -> None:
    with os.fdopen(descriptor, "wb") as file:
        for part in parts:
            if isinstance(part, str):
                file.write(part.encode("utf-8", "backslashreplace"))
            else:
                file.write(part)
                file.flush()


def _replace(path: Path, present: os.stat_result | None, parts: Parts, mode: int | None) -> None:
    # With another suffix than the file's: a collector of *.prom must not read a partial file.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        _write(descriptor, parts)
        if mode is None:
            mode = _usual_mode() if present is None else stat.S_IMODE(present.st_mode)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _usual_mode() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask
