"""Read OpenSSH's known_hosts files: which keys a host may present. Each file is indexed once per version."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry

from labrun.errors import HostKeyError
from labrun.regular_files import read_regular

__all__ = ["Stamp", "file_stamp", "known_keys"]

Stamp = tuple[int, int, int]
_ABSENT: Stamp = (0, 0, 0)
_LARGEST = 16 * 1024 * 1024


def file_stamp(path: Path) -> Stamp:
    """Return what changes when the file does: inode, mtime in ns, size; zeros for a missing file."""
    try:
        status = path.stat()
    except OSError:
        return _ABSENT
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def known_keys(path: Path, name: str) -> list[paramiko.PKey]:
    """Return the keys on record for ``name`` (host, address or ``[host]:port``), in file order.

    A missing file has no keys. Patterns and ``@`` markers are skipped, which can only make a check
    stricter. Raises HostKeyError if the file cannot be read.
    """
    plain, hashed = _index(path, file_stamp(path))
    lines = list(plain.get(name, ()))
    lines += [line for mark, line in hashed if paramiko.HostKeys.hash_host(name, mark) == mark]
    entries = (HostKeyEntry.from_line(line) for line in lines)
    return [entry.key for entry in entries if entry is not None and entry.key is not None]


@lru_cache(maxsize=16)
def _index(path: Path, stamp: Stamp) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    plain: dict[str, list[str]] = {}
    hashed: list[tuple[str, str]] = []
    if stamp == _ABSENT:
        return plain, hashed
    try:
        text = read_regular(path, _LARGEST).decode("utf-8", "replace")
    except OSError as error:
        raise HostKeyError(f"cannot read {path}: {error.strerror}", step="host key") from error
    for line in text.splitlines():
        names = line.split(maxsplit=1)[0] if line.strip() else "#"
        if names.startswith(("#", "@")):
            continue
        for name in names.split(","):
            if name.startswith("|1|"):
                hashed.append((name, line))
            else:
                plain.setdefault(name, []).append(line)
    return plain, hashed
