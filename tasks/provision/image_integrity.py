"""Look through a whole qcow2, whose header was judged before: is all of it there, and can it start?"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labrun.bounded import as_object
from labrun.errors import LabrunError

__all__ = ["require_room_for", "require_sound"]

_SECONDS = 300
_SOUND, _LEAKS = 0, 3
_SECTOR = 512
_BOOT_MARK, _BOOT_MARK_AT = b"\x55\xaa", 510
_GPT = b"EFI PART"
_MIB = 2**20
# Free space that is left after a copy: libvirt and the guests write there too.
_RESERVE = 64 * _MIB


def require_sound(path: Path) -> None:
    """Raise LabrunError unless all clusters of a qcow2 are there, once each, and its disk can start."""
    seen = _checked(path)
    if seen.get("corruptions") or seen.get("check-errors"):
        raise LabrunError(
            f"{path} is damaged or cut off", step="image", hint="download it again, or compare its checksum"
        )
    if not _can_start(path):
        raise LabrunError(
            f"the disk in {path} has no boot sector and no partition table, so nothing can start from it",
            step="image",
            hint="take an image that boots by itself, such as the vendor's cloud image",
        )


def require_room_for(size: int, directory: Path) -> None:
    """Raise LabrunError unless ``size`` more bytes fit below ``directory``, with some left over."""
    free = shutil.disk_usage(directory).free
    if size + _RESERVE > free:
        raise LabrunError(
            f"{-(-size // _MIB)} MiB do not fit: {directory} has {free // _MIB} MiB left",
            step="image",
            hint="`labrun image prune` makes room, and LABRUN_IMAGE_DIR names another directory",
        )


def _checked(path: Path) -> Mapping[str, Any]:
    done = _qemu_img(path, "check", "-f", "qcow2", "--output", "json")
    try:
        return as_object(json.loads(done.stdout), "qemu-img check")
    except ValueError:
        if done.returncode in (_SOUND, _LEAKS):
            return {}
    said = done.stderr.strip().splitlines()
    raise LabrunError(said[-1] if said else f"qemu-img cannot read {path}", step="image")


def _can_start(path: Path) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder, "head")
        done = _qemu_img(
            path, "dd", "-f", "qcow2", "-O", "raw", f"bs={_SECTOR}", "count=2", f"of={head}", last="if={}"
        )
        if done.returncode != 0:
            raise LabrunError(done.stderr.strip() or f"qemu-img cannot read {path}", step="image")
        sectors = head.read_bytes()
    return sectors.startswith(_BOOT_MARK, _BOOT_MARK_AT) or sectors.startswith(_GPT, _SECTOR)


def _qemu_img(path: Path, *arguments: str, last: str = "{}") -> subprocess.CompletedProcess[str]:
    # An absolute path, or a name like "nbd:host" would be parsed as a protocol.
    command = ["qemu-img", *arguments, last.format(path.absolute())]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=_SECONDS
        )
    except FileNotFoundError as error:
        raise LabrunError(
            "qemu-img is not installed", step="image", hint="`labrun doctor` names its package"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabrunError(f"qemu-img did not answer in {_SECONDS} s", step="image") from error
