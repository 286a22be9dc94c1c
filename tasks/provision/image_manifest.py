"""The manifest of a built image: what it holds, from which recipe, and how large it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from labrun.state_files import NOT_OURS, WRONG, DamagedFileError, parse_json, read_file

__all__ = [
    "MANIFEST",
    "BuiltImage",
    "find_image",
    "read_image_manifest",
    "read_manifest",
    "write_manifest",
]

MANIFEST = "image.json"
_FORMAT = 1
_LARGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """One version of an image that labrun built.

    ``parts`` are of ``lxc`` and ``qemu``; sizes are bytes; ``sha256`` is the disk's. ``path`` is the
    version's own directory, never the link to it: guests keep the version they were made of.
    """

    name: str
    path: Path
    recipe: str
    built: datetime
    parts: frozenset[str]
    tree_size: int
    disk_size: int = 0
    virtual_size: int = 0
    sha256: str = ""

    @property
    def rootfs(self) -> Path:
        """The directory tree that containers lie on; only ever read."""
        return self.path / "rootfs"

    @property
    def disk(self) -> Path:
        """The qcow2 disk that VMs lie on; there only when ``parts`` has ``qemu``."""
        return self.path / "disk.qcow2"

    def at(self, path: Path) -> Self:
        """Return the same image in another directory."""
        return replace(self, path=path)

    def with_disk(self, size: int, virtual_size: int, sha256: str) -> Self:
        """Return the image with its disk."""
        parts = self.parts | {"qemu"}
        return replace(self, parts=parts, disk_size=size, virtual_size=virtual_size, sha256=sha256)


def find_image(dest: Path, name: str) -> BuiltImage | None:
    """Return the version of ``name`` that new guests get, or None where there is none that is whole."""
    return read_manifest((dest / name).resolve())


def read_manifest(path: Path) -> BuiltImage | None:
    """Return the image in ``path``, or None where its manifest is missing, foreign or of another format."""
    try:
        data = read_image_manifest(path / MANIFEST)
        if data["format"] != _FORMAT:
            return None
        return BuiltImage(
            name=str(data["name"]),
            path=path,
            recipe=str(data["recipe"]),
            built=datetime.fromisoformat(data["built"]),
            parts=frozenset(str(part) for part in data["parts"]),
            tree_size=int(data["tree_size"]),
            disk_size=int(data["disk_size"]),
            virtual_size=int(data["virtual_size"]),
            sha256=str(data["sha256"]),
        )
    except (DamagedFileError, *WRONG):
        return None


def read_image_manifest(path: Path) -> Mapping[str, Any]:
    """Return what a manifest says, empty where there is none. Raises DamagedFileError.

    Images are for all users of a machine: whoever's the file is, it is only a regular one, and a small one.
    """
    data = read_file(path, largest=_LARGEST, anyones=True)
    if data is None:
        return {}
    try:
        found = parse_json(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DamagedFileError(path, NOT_OURS)
    return found


def write_manifest(image: BuiltImage) -> None:
    """Write ``image.json`` beside the image: whole or not at all, and only once its files are on the disk."""
    data = {
        "format": _FORMAT,
        "name": image.name,
        "recipe": image.recipe,
        "built": image.built.isoformat(timespec="seconds"),
        "parts": sorted(image.parts),
        "tree_size": image.tree_size,
        "disk_size": image.disk_size,
        "virtual_size": image.virtual_size,
        "sha256": image.sha256,
    }
    fresh = image.path / f".{MANIFEST}"
    with fresh.open("w") as file:
        json.dump(data, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(image.path / MANIFEST)
