"""A file becomes an image: judged, copied or moved into the store, and named by one rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from labrun.errors import LabrunError, UsageError
from labrun.tasks.provision.image_contents import require_usable
from labrun.tasks.provision.image_format import judge_image
from labrun.tasks.provision.image_integrity import require_room_for, require_sound
from labrun.tasks.provision.image_store import (
    VERSIONS,
    ImagePaths,
    Progress,
    StoredImage,
    file_identity,
    image_directory,
    image_lock,
    image_paths,
    make_store,
    manifest_of,
    stored_image,
)

__all__ = ["Provenance", "import_image", "name_again", "require_free"]

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a downloaded file is from, its digests by algorithm, and what proved it."""

    source: str
    digests: Mapping[str, str]
    verified: str


def import_image(
    path: Path, name: str, *, progress: Progress | None = None, provenance: Provenance | None = None
) -> StoredImage:
    """Copy a cloud image (qcow2) into the store under ``name``; the name moves to it in one step.

    The same file imported twice is stored once. With ``provenance`` it is a download on the store's file
    system, which is moved instead. Raises LabrunError if it is not a complete qcow2, UsageError for a bad
    name or the name of a built image.
    """
    require_free(name)
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    judge_image(path)
    require_sound(path)
    versions = make_store()
    require_usable(path, versions, path if provenance is None else Path(name))
    # One import per name at a time: an existing scratch directory is left from one that was killed.
    with image_lock(name):
        _store(path, name, versions, progress or (lambda _what, _share: None), provenance)
    return stored_image(image_paths(name))


def require_free(name: str) -> None:
    """Raise UsageError for a bad name, and for that of an image that labrun built."""
    paths = image_paths(name)
    if paths.rootfs.is_dir() or "recipe" in manifest_of(paths):
        raise UsageError(f"{name} is an image that labrun built", hint="import it under another name")


def name_again(there: ImagePaths, name: str, source: str, verified: str) -> StoredImage:
    """Give the disk of an image another name too: its content stays one file."""
    require_free(name)
    noted = manifest_of(there)
    digests = {key: str(noted[key]) for key in ("sha256", "sha512") if key in noted}
    link = make_store() / f".link-{name}"
    try:
        link.unlink(missing_ok=True)
        os.link(there.disk, link)
        return import_image(link, name, provenance=Provenance(source, digests, verified))
    except OSError as error:
        raise LabrunError(f"cannot store {name}: {error.strerror or error}", step="image") from error
    finally:
        link.unlink(missing_ok=True)


def _store(path: Path, name: str, versions: Path, progress: Progress, provenance: Provenance | None) -> None:
    scratch = versions / f".import-{name}"
    disk = scratch / "disk.qcow2"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        identity = file_identity(path)
        if provenance is None:
            require_room_for(path.stat().st_blocks * 512, scratch)
            provenance = Provenance(path.name, {"sha256": _copy(path, disk, progress)}, "")
        else:
            path.rename(disk)
            disk.chmod(0o644)
        manifest = {
            "name": name,
            "source": provenance.source,
            "imported": datetime.now(UTC).isoformat(timespec="seconds"),
            **provenance.digests,
            # Judged anew: the file may have been replaced since.
            "virtual_size": judge_image(disk),
            "verified": provenance.verified,
            "file": identity,
        }
        (scratch / "image.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _take_name(name, scratch, versions / f"{name}-{provenance.digests['sha256'][:16]}")
    except OSError as error:
        raise LabrunError(f"cannot store {name}: {error.strerror or error}", step="image") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _copy(source: Path, target: Path, progress: Progress) -> str:
    """Copy without blocks of zeros; return the SHA-256 of the source."""
    digest = hashlib.sha256()
    size = source.stat().st_size
    with source.open("rb") as reader, target.open("wb") as writer:
        copied = 0
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            if chunk.count(0) == len(chunk):
                writer.seek(len(chunk), os.SEEK_CUR)
            else:
                writer.write(chunk)
            copied += len(chunk)
            progress("copying", min(1.0, copied / max(size, 1)))
        writer.truncate(copied)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _take_name(name: str, scratch: Path, version: Path) -> None:
    """Move the finished directory into place and point the name to it."""
    scratch.chmod(0o755)
    if version.is_dir():
        # The same content: only where it is from may be new.
        (scratch / "image.json").replace(version / "image.json")
    else:
        scratch.rename(version)
    link = version.parent / f".{name}.link"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(VERSIONS) / version.name)
    link.replace(image_directory() / name)
    # Machines use copies in a libvirt pool, so versions without the name are unused.
    for old in version.parent.glob(f"{name}-*"):
        manifest = manifest_of(ImagePaths(name, old))
        if old != version and manifest.get("name") == name and "recipe" not in manifest:
            shutil.rmtree(old, ignore_errors=True)
