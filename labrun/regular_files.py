"""Read files whose path may come from others: regular files only, up to a size limit, without blocking."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["read_regular"]


def read_regular(path: Path, largest: int, *, follow: bool = True) -> bytes:
    """Return the content of a regular file of at most ``largest`` bytes; ``follow`` allows symlinks.

    Raises OSError, also if the file is not a regular one (EINVAL) or is larger (EFBIG). Its ``strerror``
    completes "this is ..." or "this cannot be read: ...". Never block on a FIFO, a device or a file in
    /proc that waits for events.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        parts: list[bytes] = []
        room = largest + 1
        while room and (part := os.read(descriptor, room)):
            parts.append(part)
            room -= len(part)
    finally:
        os.close(descriptor)
    if not room:
        raise OSError(errno.EFBIG, f"larger than {largest} bytes", str(path))
    return b"".join(parts)
