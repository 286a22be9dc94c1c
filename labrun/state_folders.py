"""Directories that only the user can write to: a foreign file there could be a key that opens the guests."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from functools import cache
from pathlib import Path

from labrun.errors import LabrunError

__all__ = [
    "UnavailableFolderError",
    "check_folder",
    "distrust",
    "give_a_home",
    "private_folder",
    "trusted_owners",
    "xdg_base",
]

_MOST_LINKS = 40
# The home of a user who has none: nothing is ever there, and nothing can be made there.
_NOWHERE = Path("/dev/null")


class UnavailableFolderError(LabrunError):
    """Report a directory that this user may not make or look at: nothing of labrun's can be in it."""


def give_a_home() -> None:
    """Make ``~`` a path where nothing is, for a user without a home: libraries ask for it on import."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_NOWHERE)


def xdg_base(variable: str, default: str) -> Path:
    """Return the directory of an XDG variable, else ``default`` below the home. Relative paths are ignored.

    Raises RuntimeError for a user without a home (XDG Base Directory Specification).
    """
    configured = os.environ.get(variable, "")
    return Path(configured) if configured.startswith("/") else Path.home() / default


def private_folder(path: Path) -> None:
    """Create the directory with mode 0700 if it is missing. An existing one is left unchanged.

    Raises LabrunError as :func:`check_folder` does, and if it cannot be created.
    """
    check_folder(path)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unavailable(path, error) from error


def check_folder(path: Path) -> None:
    """Raise LabrunError if a user other than this one and root could have put something into it."""
    try:
        why = distrust(path)
    except OSError as error:
        raise _unavailable(path, error) from error
    if why is not None:
        raise LabrunError(_UNUSABLE.format(path, why), hint=_ANOTHER)


_UNUSABLE = "cannot use the state directory {}: {}"
_ANOTHER = "--state-dir chooses another"


def _unavailable(path: Path, error: OSError) -> LabrunError:
    if path.is_relative_to(_NOWHERE):
        return UnavailableFolderError("this user has no home directory to keep state in", hint=_ANOTHER)
    kind = UnavailableFolderError if error.errno in (errno.EROFS, errno.EACCES) else LabrunError
    return kind(_UNUSABLE.format(path, error.strerror or error), hint=_ANOTHER)


def distrust(path: Path) -> str | None:
    """Return who else may change the directory's content, None if no one can. It need not exist yet.

    The directory and its parents must be owned by the user or root and writable by no one else, except for
    sticky directories such as /tmp. Symlinks on the way must meet the same conditions.
    """
    folder = Path("/")
    steps = list(reversed(path.absolute().parts[1:]))
    links = 0
    why = _distrust_of(folder, folder.lstat())
    while why is None and steps:
        part = steps.pop()
        if part == "..":
            folder = folder.parent
            continue
        entry = folder / part
        try:
            seen = entry.lstat()
        except FileNotFoundError:
            return None
        why = _distrust_of(entry, seen)
        if not stat.S_ISLNK(seen.st_mode):
            folder = entry
            continue
        links += 1
        if links > _MOST_LINKS:
            return f"{entry} is a loop of symbolic links"
        target = entry.readlink()
        if target.is_absolute():
            folder = Path("/")
        steps += reversed([part for part in target.parts if part != "/"])
    return why


@cache
def trusted_owners() -> frozenset[int]:
    """Return the users whose files are trusted: root, the current user, and the owner of /.

    In a user namespace, as systemd creates for confined user units, root has another uid.
    """
    return frozenset({0, os.geteuid(), Path("/").lstat().st_uid})


def _distrust_of(path: Path, seen: os.stat_result) -> str | None:
    if seen.st_uid not in trusted_owners():
        return f"{path} belongs to {_user(seen.st_uid)}"
    if not stat.S_ISDIR(seen.st_mode) or seen.st_mode & stat.S_ISVTX:
        return None
    if seen.st_mode & stat.S_IWOTH:
        return f"everyone can write to {path}"
    if seen.st_mode & stat.S_IWGRP and not _is_own_group(seen):
        return f"the group {_group(seen.st_gid)} can write to {path}"
    return None


def _is_own_group(seen: os.stat_result) -> bool:
    """Return whether the group is root's, or the owner's private group, as many distributions create."""
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
