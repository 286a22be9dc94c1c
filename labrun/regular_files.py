"""Reading files that others may have named: regular ones, up to a bound, and waiting for nobody."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["read_regular"]


def read_regular(path: Path, largest: int, *, follow: bool = True) -> bytes:
    """Return the content of a regular file of at most ``largest`` bytes; without ``follow`` no link's.

    Raises OSError, also for what is no regular file (EINVAL) and for more bytes than that (EFBIG); its
    ``strerror`` completes "this is ..." or "this cannot be read: ...". A FIFO, a device or a file of /proc
    that waits for events is not waited for.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        parts: list[bytes] = []
        left = largest + 1
        while left and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    if not left:
        raise OSError(errno.EFBIG, f"larger than {largest} bytes", str(path))
    return b"".join(parts)
