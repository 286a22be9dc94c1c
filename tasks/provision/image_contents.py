"""Look into the root file system of a disk image without starting it: is what labrun needs in there?

That works for ext2, ext3 and ext4, in a partition or alone, as Debian, Ubuntu and Alpine have them. Of XFS,
Btrfs and LVM nothing is said: `image check` boots the image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from labrun.bounded import as_list, as_object
from labrun.errors import LabrunError, UnreadableError
from labrun.tasks.provision.image_format import judge_image

__all__ = ["missing_in", "require_usable"]

_SECONDS = 300
_RESERVE = 256 * 1024 * 1024
_SECTOR = 512
_MOST_PARTITIONS = 32
_EXT_MAGIC_AT, _EXT_MAGIC = 1080, b"\x53\xef"
_NOBODY = 65534
_INODE = re.compile(r"^debugfs: +stat (?P<path>\S+)\n(?P<said>.*?)(?=^debugfs:|\Z)", re.MULTILINE | re.DOTALL)
# A root file system has one of the first and all of the second, unless /usr is a file system of its own.
_MARKS: Final = ("/etc/os-release", "/usr/lib/os-release")
_OF_ANY: Final = ("/usr/bin/env",)


class _Program(NamedTuple):
    """What labrun needs in a guest, and where distributions have it."""

    name: str
    paths: tuple[str, ...]
    why: str


_NEEDED: Final[Sequence[_Program]] = (
    _Program(
        "cloud-init",
        ("/usr/bin/cloud-init", "/usr/local/bin/cloud-init", "/bin/cloud-init"),
        "nothing would make the login user",
    ),
    _Program("sshd", ("/usr/sbin/sshd", "/usr/bin/sshd", "/sbin/sshd"), "nobody could log in"),
)


def require_usable(disk: Path, folder: Path, path: Path) -> None:
    """Raise LabrunError if a judged and sound qcow2 lacks cloud-init or sshd, as far as that can be read.

    ``folder`` takes a raw copy of it for the time being; ``path`` is its name for messages.
    """
    missing = missing_in(disk, folder)
    if missing:
        reasons = ", and ".join(f"no {each.name} ({each.why})" for each in missing)
        raise LabrunError(
            f"the system in {path} has {reasons}",
            step="image",
            hint="take the vendor's cloud image, or install what is missing",
        )


def missing_in(disk: Path, folder: Path) -> tuple[_Program, ...]:
    """Return what is missing in the system of a qcow2; nothing if its files cannot be read from outside."""
    # Written out, compressed clusters may become a thousand times as large.
    if judge_image(disk) + _RESERVE > shutil.disk_usage(folder).free:
        return ()
    with tempfile.TemporaryDirectory(prefix=".import-look-", dir=folder) as name:
        raw = Path(name, "raw")
        command = ("qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(disk.absolute()), str(raw))
        if _run(*command) is None:
            return ()
        # By its descriptor also those can open it who may not enter the folder.
        raw.chmod(0o644)
        with raw.open("rb") as file:
            for start in _file_systems(file.fileno()):
                if there := _paths_in(file.fileno(), start):
                    return tuple(each for each in _NEEDED if not there.intersection(each.paths))
    return ()


def _file_systems(raw: int) -> list[int]:
    """Return where file systems of the ext family begin in a disk, in bytes."""
    starts = [0]
    listed = _run("sfdisk", "--json", _path(raw), unprivileged=raw)
    try:
        table = as_object(as_object(json.loads(listed or "{}"), "sfdisk").get("partitiontable", {}), "sfdisk")
        for part in as_list(table.get("partitions", []), "sfdisk")[:_MOST_PARTITIONS]:
            start = as_object(part, "sfdisk").get("start")
            starts += [start * _SECTOR] if isinstance(start, int) else []
    except (ValueError, UnreadableError):
        # No table: the disk may be one file system.
        pass
    return [start for start in starts if os.pread(raw, len(_EXT_MAGIC), start + _EXT_MAGIC_AT) == _EXT_MAGIC]


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _paths_in(raw: int, start: int) -> frozenset[str]:
    """Return which of the paths that matter are in a file system; none if it is not a whole root."""
    paths = [*_MARKS, *_OF_ANY, *(path for each in _NEEDED for path in each.paths)]
    questions = "".join(f"stat {path}\n" for path in paths)
    said = _run("debugfs", "-f", "-", f"{_path(raw)}?offset={start}", feed=questions, unprivileged=raw)
    found = frozenset(match["path"] for match in _INODE.finditer(said or "") if "Inode:" in match["said"])
    return found if found.intersection(_MARKS) and found.issuperset(_OF_ANY) else frozenset()


def _run(*command: str, feed: str = "", unprivileged: int | None = None) -> str | None:
    """Return what a program prints, None if it fails or is not there.

    ``unprivileged`` is the descriptor of the file that it reads, for one that has no rights of root's.
    """
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    if unprivileged is not None and os.geteuid() == 0:
        # Nobody has looked at the bytes that these parse.
        ids = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--no-new-privs"]
        command = ("setpriv", *ids, *command)
    try:
        done = subprocess.run(
            command,
            input=feed,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=_SECONDS,
            check=False,
            pass_fds=() if unprivileged is None else (unprivileged,),
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
