"""Namespaces that a forked labrun is put into before it begins: less can be written, or by another user."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = ["read_only", "unknown_user"]

_libc = ctypes.CDLL(None, use_errno=True)
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
_CAPABILITIES_3 = 0x20080522


def read_only(directory: str) -> None:
    """Make a directory read-only for this process, as ``mount -o remount,ro,bind`` does."""
    _check(_libc.unshare(_NEW_MOUNTS))
    _mount(b"none", b"/", _RECURSIVE | _PRIVATE)
    path = os.fsencode(directory)
    _mount(path, path, _BIND)
    _mount(path, path, _BIND | _REMOUNT | _READ_ONLY)


def unknown_user(uid: int) -> None:
    """Become a user that is in no passwd file and has no rights, as ``unshare --map-user`` does."""
    outside = os.geteuid()
    _check(_libc.unshare(_NEW_USERS))
    Path("/proc/self/uid_map").write_text(f"{uid} {outside} 1", encoding="ascii")
    header, nothing = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, nothing))


def _mount(source: bytes, target: bytes, flags: int) -> None:
    _check(_libc.mount(source, target, b"none", ctypes.c_ulong(flags), None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
