"""Read labrun's own state files, which earlier runs wrote, without trusting or waiting for them; write one.

Between two runs anything may happen to a file: a full disk, a restore, a malicious user. So it must be a
regular file of bounded size, reached through no symlink, owned by the user or root, and writable by no
other user. A file that fails these checks, or has content that labrun does not write, is renamed and
recreated.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from labrun.errors import LabrunError
from labrun.notices import notice
from labrun.regular_files import read_regular
from labrun.state_folders import trusted_owners

__all__ = [
    "LARGEST",
    "NOT_OURS",
    "WRONG",
    "DamagedFileError",
    "finite",
    "keep_regular",
    "look",
    "parse_json",
    "read_file",
    "read_or_reset",
    "set_aside",
    "write_private",
]

T = TypeVar("T")

LARGEST: Final = 16 * 1024 * 1024
"""Size limit in bytes; only histories are larger."""
_BY_KIND: Final = (errno.EFBIG, errno.EINVAL)
_OF_THE_FILE: Final = (*_BY_KIND, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES)
NOT_OURS: Final = "it is not what labrun wrote"
_MOST_SECONDS: Final = 1e11  # a time in the year 5138
WRONG: Final = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
"""The exceptions raised when a value of unexpected shape is parsed."""
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class DamagedFileError(LabrunError):
    """Report why a file is not trusted; ``seen`` is its stat result, None if only its content is wrong.

    ``number`` is the errno if the system could not read the file.
    """

    def __init__(self, path: Path, why: str, seen: os.stat_result | None = None, number: int | None = None):
        super().__init__(f"{path}: {why}")
        self.why = why
        self.seen = seen
        self.number = number

    @property
    def is_passing(self) -> bool:
        """Return whether the file may be intact and a retry may succeed."""
        return self.number is not None and self.number not in _OF_THE_FILE


def look(path: Path, *, anyones: bool = False) -> os.stat_result | None:
    """Return the stat result of the path, None if there is nothing; ``anyones`` skips the owner check.

    Raises DamagedFileError if it is not a regular file, or if it is or may be the work of another user.
    """
    try:
        seen = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedFileError(path, f"it cannot be read: {error.strerror}", None, error.errno) from error
    _check(path, seen, anyones=anyones)
    return seen


def _check(path: Path, seen: os.stat_result, *, anyones: bool) -> None:
    if not stat.S_ISREG(seen.st_mode):
        kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO"}
        kind = kinds.get(stat.S_IFMT(seen.st_mode), "not a regular file")
        raise DamagedFileError(path, f"it is {kind}", seen)
    if anyones:
        return
    if seen.st_uid not in trusted_owners():
        raise DamagedFileError(path, f"it belongs to uid {seen.st_uid}", seen)
    if seen.st_mode & _OTHERS_MAY_WRITE:
        raise DamagedFileError(path, "others can write to it", seen)


def read_file(path: Path, *, largest: int = LARGEST, anyones: bool = False) -> bytes | None:
    """Return the file's content, None if there is no file. Raises DamagedFileError as :func:`look` does.

    Also raises it for more than ``largest`` bytes. Never block, whatever replaces the file meanwhile.
    """
    if look(path, anyones=anyones) is None:
        return None
    try:
        return read_regular(path, largest, follow=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = f"it is {error.strerror}" if error.errno in _BY_KIND else f"it cannot be read: {error.strerror}"
        raise DamagedFileError(path, why, None, error.errno) from error


def parse_json(data: bytes | str) -> Any:
    """Parse a JSON document. Raises ValueError, also if it is nested too deeply or too large."""
    try:
        return json.loads(data)
    except (RecursionError, MemoryError) as error:
        raise ValueError("this JSON is nested too deeply") from error


def finite(value: object) -> float:
    """Return the number. Raises ValueError if it is not one, or is out of range for a time or duration."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _MOST_SECONDS:
        raise ValueError("not a number of seconds")
    return float(value)


def read_or_reset(path: Path, parse: Callable[[bytes], T], missing: T, *, largest: int = LARGEST) -> T:
    """Return the file's content as parsed by ``parse``, or ``missing`` without a file.

    A file that is not trusted, or that ``parse`` rejects, is set aside and counts as missing. Raises
    LabrunError if it cannot be set aside, or if reading failed for a reason outside the file, such as too
    many open files or a disk that does not answer.
    """
    try:
        data = read_file(path, largest=largest)
    except DamagedFileError as error:
        if error.is_passing:
            raise
        set_aside(path, error.why, error.seen)
        return missing
    if data is None:
        return missing
    try:
        return parse(data)
    except WRONG:
        set_aside(path, NOT_OURS)
        return missing


def keep_regular(path: Path, mode: int | None = None) -> None:
    """Set aside a file that is not trusted; otherwise set its ``mode`` if it differs.

    Raises LabrunError if that fails.
    """
    try:
        seen = look(path)
    except DamagedFileError as error:
        # A wrong mode can be fixed: only the owner could have put the file there.
        untrusted = error.seen
        if error.is_passing:
            raise
        if (
            mode is None
            or untrusted is None
            or not stat.S_ISREG(untrusted.st_mode)
            or untrusted.st_uid != os.geteuid()
        ):
            set_aside(path, error.why, untrusted)
            return
        seen = untrusted
    if seen is None or mode is None or stat.S_IMODE(seen.st_mode) == mode:
        return
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno == errno.EROFS:
            return  # nothing can be changed there, by anybody
        raise LabrunError(
            f"cannot give {path} the mode {mode:04o}: {error.strerror}", hint="--state-dir chooses another"
        ) from error
    notice(f"{path} had the mode {stat.S_IMODE(seen.st_mode):04o}: it is {mode:04o} again")


def set_aside(path: Path, why: str, seen: os.stat_result | None = None) -> Path | None:
    """Rename the file, report it, and return the new name; None if another labrun was first.

    ``seen`` is the file to move: a file that has replaced it since is left alone. Raises LabrunError.
    """
    try:
        if seen is not None and not os.path.samestat(path.lstat(), seen):
            return None
        aside = _free_name(path)
        path.rename(aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LabrunError(
            f"{path}: {why}, and it cannot be set aside: {error.strerror}", hint="--state-dir chooses another"
        ) from error
    notice(f"{path}: {why}; it was renamed to {aside.name}, and a new one is started")
    return aside


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 0
    while True:
        aside = path.with_name(f"{path.name}.damaged-{stamp}" + (f".{number}" if number else ""))
        with contextlib.suppress(FileNotFoundError):
            aside.lstat()
            number += 1
            continue
        return aside


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600 atomically. Its directory must exist. Raises LabrunError."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LabrunError(
            f"cannot write {path}: {error.strerror}", hint="--state-dir chooses another"
        ) from error
