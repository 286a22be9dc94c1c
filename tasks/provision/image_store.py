"""Images on the controller: one directory each, found by name, replaced by one rename.

``IMAGES/NAME`` is a link to ``IMAGES/versions/NAME-…``. A new build or import takes the name in one step,
and processes that still read the old version keep it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from labrun.errors import LabrunError, LockedError, UsageError
from labrun.state_files import DamagedFileError
from labrun.tasks.provision.image_manifest import read_image_manifest

__all__ = [
    "VERSIONS",
    "ImagePaths",
    "Progress",
    "StoredImage",
    "disk_digest",
    "file_identity",
    "has_digest",
    "has_file",
    "image_directory",
    "image_lock",
    "image_paths",
    "list_images",
    "make_store",
    "manifest_of",
    "open_lock",
    "stored_image",
    "with_digest",
]

VERSIONS = "versions"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_CHUNK = 1024 * 1024

Progress = Callable[[str, float], None]
"""Receives the current step in words and the completed share (0 to 1)."""


@dataclass(frozen=True, slots=True)
class ImagePaths:
    """The paths of an image's parts, existing or not; ``directory`` is the version behind the name."""

    name: str
    directory: Path

    @property
    def rootfs(self) -> Path:
        """Return the tree that containers are created from."""
        return self.directory / "rootfs"

    @property
    def disk(self) -> Path:
        """Return the qcow2 that machines are created from."""
        return self.directory / "disk.qcow2"

    @property
    def manifest(self) -> Path:
        """Return the file that records the image's origin."""
        return self.directory / "image.json"


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image of the store.

    ``drivers`` are the kinds of machine it can create (``lxc``, ``qemu``). ``disk_bytes`` is the size of
    the qcow2 file and ``sha256`` its digest, 0 and empty if it has none; ``tree_bytes`` is the size of the
    tree, 0 if it has none or if it is unknown. ``made`` is the time of its build
    or import (ISO 8601), ``source`` its origin, both empty if unknown. ``unreadable`` tells why its
    manifest is not trusted, empty if it is or if there is none.
    """

    name: str
    drivers: tuple[str, ...]
    disk_bytes: int
    sha256: str
    made: str
    source: str
    unreadable: str = ""
    tree_bytes: int = 0


def image_directory() -> Path:
    """Return the directory of all images: ``$LABRUN_IMAGE_DIR``, else /var/lib/labrun/images."""
    return Path(os.environ.get("LABRUN_IMAGE_DIR") or "/var/lib/labrun/images")


def image_paths(name: str) -> ImagePaths:
    """Return the paths of an image's parts, which need not exist. Raises UsageError for a bad name."""
    _check_name(name)
    directory = image_directory() / name
    return ImagePaths(name, directory.resolve() if directory.exists() else directory)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name == VERSIONS:
        raise UsageError(
            f"{name!r} cannot be the name of an image",
            hint="use lower-case letters, digits, dots, hyphens and underscores, at most 63",
        )


def list_images() -> tuple[StoredImage, ...]:
    """Return every image of the store, by name; directories without any image part are left out.

    Raises LabrunError if the store itself cannot be read.
    """
    try:
        names = sorted(entry.name for entry in image_directory().iterdir())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise LabrunError(f"cannot read {image_directory()}: {error.strerror}", step="image") from error
    found = (stored_image(image_paths(name)) for name in names if _NAME.fullmatch(name) and name != VERSIONS)
    return tuple(image for image in found if image.drivers or image.unreadable)


def stored_image(paths: ImagePaths) -> StoredImage:
    """Return what the store has under these paths."""
    unreadable = ""
    manifest: Mapping[str, Any] = {}
    try:
        manifest = read_image_manifest(paths.manifest)
    except DamagedFileError as error:
        unreadable = error.why
    has_disk = paths.disk.is_file()
    parts = (("lxc", paths.rootfs.is_dir()), ("qemu", has_disk))
    return StoredImage(
        name=paths.name,
        drivers=tuple(driver for driver, is_there in parts if is_there),
        disk_bytes=paths.disk.stat().st_size if has_disk else 0,
        sha256=str(manifest.get("sha256") or "") if has_disk else "",
        made=str(manifest.get("built") or manifest.get("imported") or ""),
        source=str(manifest.get("source") or ""),
        unreadable=unreadable,
        tree_bytes=_size(manifest.get("tree_size")) if paths.rootfs.is_dir() else 0,
    )


def _size(noted: object) -> int:
    return noted if isinstance(noted, int) and noted > 0 else 0


def manifest_of(paths: ImagePaths) -> Mapping[str, Any]:
    """Return what an image notes about itself, empty if it notes nothing that can be read."""
    try:
        return read_image_manifest(paths.manifest)
    except DamagedFileError:
        return {}


def disk_digest(paths: ImagePaths) -> str | None:
    """Return the SHA-256 (hex) of the image's qcow2, None if it has none.

    The value in the manifest is trusted; a disk without a manifest is read in full.
    """
    if not paths.disk.is_file():
        return None
    noted = manifest_of(paths).get("sha256")
    if isinstance(noted, str) and re.fullmatch(r"[0-9a-f]{64}", noted):
        return noted
    with paths.disk.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_lock(path: Path) -> TextIO:
    """Return a file to lock, not locked yet. Raises LabrunError if it cannot be written."""
    try:
        return path.open("w")
    except OSError as error:
        raise LabrunError(f"cannot write to {path.parent}: {error.strerror}", step="image") from error


@contextmanager
def image_lock(name: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of an image's name, which builds hold too; the kernel releases it if labrun is killed.

    Without ``wait``, raises LockedError while another process holds it.
    """
    with open_lock(image_directory() / f".{name}.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise LockedError(
                f"another labrun is making the image {name}", hint="repeat this when it is done"
            ) from error
        yield


def make_store() -> Path:
    """Return the directory of the versions, which exists then. Raises LabrunError."""
    versions = image_directory() / VERSIONS
    try:
        versions.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabrunError(f"cannot write to {versions}: {error.strerror}", step="image") from error
    return versions


def with_digest(algorithm: str, value: str) -> ImagePaths | None:
    """Return an image whose disk has this digest, None if there is none."""
    for image in list_images():
        paths = image_paths(image.name)
        if has_digest(paths, algorithm, value):
            return paths
    return None


def has_digest(paths: ImagePaths, algorithm: str, value: str) -> bool:
    """Tell whether an image has a disk with this digest, by its manifest."""
    return paths.disk.is_file() and manifest_of(paths).get(algorithm) == value


def has_file(paths: ImagePaths, path: Path) -> bool:
    """Tell whether an image was imported from this file as it is now, by its place, size and time."""
    try:
        return paths.disk.is_file() and manifest_of(paths).get("file") == file_identity(path)
    except OSError:
        return False


def file_identity(path: Path) -> str:
    """Return what tells a file from another, or from itself after a change: place, size, time."""
    seen = path.stat()
    return f"{path.resolve()} {seen.st_size} {seen.st_mtime_ns}"
