"""Folders that nobody else can put anything into: theirs would be the keys that open the guests."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from functools import cache
from pathlib import Path

from labrun.errors import LabrunError

__all__ = ["check_folder", "distrust", "private_folder", "trusted_owners", "xdg_base"]

_MOST_LINKS = 40


def xdg_base(variable: str, default: str) -> Path:
    """Return the folder that an XDG variable names, else ``default`` below the home; relative ones count not.

    Raises RuntimeError for a user without a home (XDG Base Directory Specification).
    """
    configured = os.environ.get(variable, "")
    return Path(configured) if configured.startswith("/") else Path.home() / default


def private_folder(path: Path) -> None:
    """Make the folder with mode 0700 where it is missing; nothing happens to one that is there.

    Raises LabrunError as :func:`check_folder` does, and where it cannot be made.
    """
    check_folder(path)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def check_folder(path: Path) -> None:
    """Raise LabrunError where somebody other than the user and root could have put something into it."""
    try:
        why = distrust(path)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    if why is not None:
        raise _unusable(path, why)


def _unusable(path: Path, why: str) -> LabrunError:
    return LabrunError(f"cannot use the state directory {path}: {why}", hint="--state-dir names another")


def distrust(path: Path) -> str | None:
    """Return who else may change what is in the folder, None where nobody can; it need not be there yet.

    Folder and parents have to be the user's or root's, and nobody else's to write, but for those in which
    everybody only has a say on what is theirs, as /tmp. Links on the way are held to the same.
    """
    here = Path("/")
    left = list(reversed(path.absolute().parts[1:]))
    links = 0
    why = _distrust_of(here, here.lstat())
    while why is None and left:
        part = left.pop()
        if part == "..":
            here = here.parent
            continue
        there = here / part
        try:
            seen = there.lstat()
        except FileNotFoundError:
            return None
        why = _distrust_of(there, seen)
        if not stat.S_ISLNK(seen.st_mode):
            here = there
            continue
        links += 1
        if links > _MOST_LINKS:
            return f"{there} leads round in circles"
        target = there.readlink()
        if target.is_absolute():
            here = Path("/")
        left += reversed([part for part in target.parts if part != "/"])
    return why


@cache
def trusted_owners() -> frozenset[int]:
    """Return the users whose files are believed: root, whoever runs this, and the owner of /.

    In a user namespace, as systemd makes for confined units of a user, root has another number.
    """
    return frozenset({0, os.geteuid(), Path("/").lstat().st_uid})


def _distrust_of(path: Path, seen: os.stat_result) -> str | None:
    if seen.st_uid not in trusted_owners():
        return f"{path} belongs to {_user(seen.st_uid)}"
    if not stat.S_ISDIR(seen.st_mode) or seen.st_mode & stat.S_ISVTX:
        return None
    if seen.st_mode & stat.S_IWOTH:
        return f"everybody may write to {path}"
    if seen.st_mode & stat.S_IWGRP and not _is_own_group(seen):
        return f"the group {_group(seen.st_gid)} may write to {path}"
    return None


def _is_own_group(seen: os.stat_result) -> bool:
    """Tell whether the group is root's, or the owner's alone, such as many distributions make."""
    if seen.st_gid == 0:
        return True
    try:
        user, group = pwd.getpwuid(seen.st_uid), grp.getgrgid(seen.st_gid)
    except KeyError:
        return False
    return user.pw_gid == group.gr_gid and user.pw_name == group.gr_name and not group.gr_mem


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
