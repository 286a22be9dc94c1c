"""The manifest of a built image: its contents, its recipe and its size."""

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

    ``parts`` are of ``lxc`` and ``qemu``; sizes are in bytes; ``sha256`` is the disk's. ``path`` is the
    version's directory, never the link to it: guests keep the version they were created from.
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
        """Return the directory tree under the containers, which is only ever read."""
        return self.path / "rootfs"

    @property
    def disk(self) -> Path:
        """Return the qcow2 disk under the VMs; it only exists if ``parts`` has ``qemu``."""
        return self.path / "disk.qcow2"

    def at(self, path: Path) -> Self:
        """Return the same image in another directory."""
        return replace(self, path=path)

    def with_disk(self, size: int, virtual_size: int, sha256: str) -> Self:
        """Return the image with its disk."""
        parts = self.parts | {"qemu"}
        return replace(self, parts=parts, disk_size=size, virtual_size=virtual_size, sha256=sha256)


def find_image(dest: Path, name: str) -> BuiltImage | None:
    """Return the version of ``name`` that new guests get, None if there is no complete one."""
    return read_manifest((dest / name).resolve())


def read_manifest(path: Path) -> BuiltImage | None:
    """Return the image in ``path``, None if its manifest is missing, foreign or of another format."""
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
    """Return the contents of a manifest, empty if there is none. Raises DamagedFileError.

    Images are for all users of a machine, so any owner is accepted, but only a small regular file.
    """
    data = read_file(path, largest=_LARGEST, anyones=True)
    if data is None:
        return {}
    try:
        manifest = parse_json(data)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise DamagedFileError(path, NOT_OURS)
    return manifest


def write_manifest(image: BuiltImage) -> None:
    """Write ``image.json`` beside the image: atomically, and only after the image's files are on disk."""
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
