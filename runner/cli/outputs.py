"""Writing what a command makes to where the user says: a file, standard output, or what else has that name.

``-`` is standard output, in the table's place. A regular file is replaced in one step where it is the user's
own. A FIFO or a device is written through: to put a file in the place of /dev/stdout, or of a link, would
break what others use by that name.
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
from typing import Final

import click

from labrun.errors import LabrunError
from labrun.state_folders import trusted_owners

__all__ = ["STDOUT", "OutputFile", "is_stdout", "write_output"]

STDOUT: Final = Path("-")
_FLAGS: Final = os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
# Names of what is open here already, and where the next write goes is for all who share it.
_DESCRIPTOR: Final = re.compile(r"(?:/dev/fd|/proc/(?:self|thread-self)/fd)/(?P<number>\d{1,9})")
_STANDARD: Final = {"/dev/stdout": 1, "/dev/stderr": 2}


class OutputFile(click.Path):
    """The type of every option that names where something is written; ``-`` is standard output."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, allow_dash=True, path_type=Path)


def is_stdout(path: Path | None) -> bool:
    """Tell whether an option's value means standard output."""
    return path == STDOUT


def write_output(
    path: Path, text: str | Iterable[str], *, append: bool = False, mode: int | None = None, kind: str = ""
) -> None:
    """Write the text, or its parts as they come, to what has this name; ``append`` adds to a file.

    ``mode`` is for a file that takes the name: by default an older one's, or what the umask leaves of 0666.
    ``kind`` says in messages what it is. Raises LabrunError; a file that is replaced is then as it was.
    """
    parts = (text,) if isinstance(text, str) else text
    try:
        descriptor = _descriptor_of(path)
        there = None if descriptor is not None else _what_is_there(path)
        if descriptor is not None:
            sys.stdout.flush()
            _write(os.dup(descriptor), parts)
        elif there is not None and not stat.S_ISREG(there.st_mode):
            _write_through(path, there, parts)
        elif append:
            _write_into(path, parts, os.O_APPEND | os.O_CREAT)
        elif there is None or (there.st_uid == os.geteuid() and there.st_nlink == 1):
            _replace(path.resolve(), there, parts, mode)
        else:
            # Another file in its place would not be its owner's, or not the one of its other names.
            _write_into(path, parts, os.O_TRUNC)
    except OSError as error:
        raise LabrunError(f"cannot write {kind}{path}: {error.strerror}") from error


def _descriptor_of(path: Path) -> int | None:
    found = _DESCRIPTOR.fullmatch(str(path))
    return int(found["number"]) if found is not None else _STANDARD.get(str(path))


def _what_is_there(path: Path) -> os.stat_result | None:
    try:
        link = path.lstat()
        if stat.S_ISLNK(link.st_mode) and link.st_uid not in trusted_owners():
            # In /tmp anybody can put one there, and have it lead to a file of root's.
            raise OSError(errno.EPERM, f"it is a link that belongs to uid {link.st_uid}")
        return path.stat()
    except FileNotFoundError:
        return None


def _write_through(path: Path, there: os.stat_result, parts: Iterable[str]) -> None:
    if stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (stat.S_ISFIFO(there.st_mode) or stat.S_ISCHR(there.st_mode)):
        raise OSError(errno.EINVAL, "it is no file, FIFO or character device")
    try:
        descriptor = os.open(path, _FLAGS | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO and stat.S_ISFIFO(there.st_mode):
            raise OSError(errno.ENXIO, "nobody reads this FIFO") from None
        raise
    os.set_blocking(descriptor, True)
    _write(descriptor, parts)


def _write_into(path: Path, parts: Iterable[str], flags: int) -> None:
    _write(os.open(path, _FLAGS | flags, 0o666), parts)


def _write(descriptor: int, parts: Iterable[str]) -> None:
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(parts)


def _replace(path: Path, there: os.stat_result | None, parts: Iterable[str], mode: int | None) -> None:
    # A name that does not end as the file's: what watches a directory for *.prom must not read a half.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        _write(descriptor, parts)
        if mode is None:
            mode = _usual_mode() if there is None else stat.S_IMODE(there.st_mode)
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
