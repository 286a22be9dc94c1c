"""Let only one labrun at a time work on a lab, and report the holder of the lock to any other."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from labrun.errors import LabrunError, LockedError
from labrun.moments import clock
from labrun.state_files import finite, keep_regular, parse_json
from labrun.state_folders import private_folder

__all__ = ["Holder", "lab_lock"]


_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_PLACE = (errno.EROFS, errno.EACCES, errno.ENOENT, errno.ENOTDIR)
_LOOKS = 20
_LOOK_SECONDS = 0.025


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a lock; ``since`` in seconds since the epoch."""

    pid: int
    command: str
    user: str
    since: float

    def __str__(self) -> str:
        return f"pid {self.pid}, {self.command}, since {clock(self.since)}, user {self.user}"


@contextmanager
def lab_lock(path: Path, command: str) -> Iterator[None]:
    """Hold the lab's lock for the duration of the block. Its directory must exist.

    The kernel releases the lock when the process ends, however that happens. Raises LockedError with the
    holder's pid, command, start and user if the lock is taken.
    """
    descriptor = _take(path)
    try:
        _sign(descriptor, Holder(os.getpid(), command, _user(), time.time()))
        yield
    finally:
        # Truncated, not removed: a process waiting on a removed file would share the lock with one that
        # creates a new file.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def _take(path: Path) -> int:
    # `down` may have removed the file between our open and lock. Then a new file counts.
    for _ in range(10):
        descriptor, opened = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise LockedError(
                f"another labrun ({holder or 'details not written yet'}) is working on this lab",
                hint="wait for it, or stop it to release the lock",
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise LabrunError(f"cannot lock {path}: {error.strerror}") from error
        if _is_still(opened, descriptor):
            return descriptor
        os.close(descriptor)
    raise LabrunError(f"cannot lock {path}: it keeps being removed")


def _open(path: Path) -> tuple[int, Path]:
    """Return a descriptor of the lock file and its path; without a writable place for it, of a substitute.

    That is the file as it is, else its directory, which can be locked too, else a file in the directory for
    temporary files: commands that need no state work without a place for it.
    """
    keep_regular(path)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o600), path
    except OSError as error:
        if error.errno not in _NO_PLACE or _could_be_made(path.parent):
            raise _cannot(path, error) from error
    for place in (path, path.parent):
        with contextlib.suppress(OSError):
            return os.open(place, os.O_RDONLY | _SAFELY), place
    folder = Path(tempfile.gettempdir()) / f"labrun-{os.geteuid()}"
    private_folder(folder)
    place = folder / f"{path.parent.name}.lock"
    keep_regular(place)
    try:
        return os.open(place, os.O_RDWR | os.O_CREAT | _SAFELY, 0o600), place
    except OSError as error:
        raise _cannot(place, error) from error


def _could_be_made(folder: Path) -> bool:
    """Tell whether a directory is missing although it can be created: then its state is wrong."""
    if folder.is_dir():
        return False
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    return above.is_dir() and os.access(above, os.W_OK)


def _cannot(path: Path, error: OSError) -> LabrunError:
    hint = "--state-dir chooses another directory"
    return LabrunError(f"cannot lock {path}: {error.strerror}", hint=hint)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sign(descriptor: int, holder: Holder) -> None:
    # A holder that cannot write its details, for example on a full disk, still holds the lock.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode() + b"\n", 0)


def _holder(descriptor: int) -> Holder | None:
    """Return the holder of the lock. One that has only just taken it is given time to write its details."""
    for _ in range(_LOOKS):
        holder = _read(descriptor)
        if holder is not None:
            return holder
        time.sleep(_LOOK_SECONDS)
    return None


def _read(descriptor: int) -> Holder | None:
    try:
        content = parse_json(os.pread(descriptor, 4096, 0))
        return Holder(
            int(content["pid"]), str(content["command"]), str(content["user"]), finite(content["since"])
        )
    except (ValueError, TypeError, KeyError, OSError):
        return None


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
