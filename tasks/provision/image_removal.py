"""Remove images: the name first, then the files that nothing stands on; what is used stays."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labrun.errors import HypervisorError, LabrunError, LockedError, UsageError
from labrun.hypervisor import connect, translated
from labrun.state_files import DamagedFileError
from labrun.tasks.provision.image_manifest import read_image_manifest
from labrun.tasks.provision.image_pull import abandon_downloads
from labrun.tasks.provision.image_store import VERSIONS, image_directory, image_lock, image_paths, list_images
from labrun.tasks.provision.image_users import ImageUsers
from labrun.tasks.provision.image_volume import volume_name
from labrun.tasks.provision.volumes import delete_volume, find_pool, image_pool, volume_names

__all__ = ["prune_images", "remove_image", "require_answer"]

_VOLUME = re.compile(r"(.+)-[0-9a-f]{16}\.qcow2")
_UNFINISHED = (".import-", ".build-")


def require_answer(users: ImageUsers) -> None:
    """Raise HypervisorError if no hypervisor could be asked who uses images."""
    if users.unasked:
        raise HypervisorError(
            f"nobody can tell which images are in use: {users.unasked}",
            step="image",
            hint=f"{users.remedy}, then repeat this command",
        )


def remove_image(name: str, users: ImageUsers) -> None:
    """Remove an image from here and from this machine's hypervisor.

    Raises LabrunError if a machine uses it, UsageError if there is none of that name, LockedError while it is
    built or imported.
    """
    require_answer(users)
    link = image_directory() / image_paths(name).name
    if not link.is_symlink() and not link.exists():
        raise UsageError(f"there is no image {name}", hint="`labrun image list` shows those that are there")
    if found := users.of(name):
        raise LabrunError(
            f"used by {', '.join(found)}", step="image", hint="`labrun down` in their labs, then repeat this"
        )
    with image_lock(name, wait=False), _explained(name):
        # What is left if this is killed has no name, and goes with the next `image prune`.
        if link.is_symlink():
            link.unlink()
        else:
            shutil.rmtree(link)
        for version in _versions():
            if _owner(version) == name:
                shutil.rmtree(version)
    _delete_volumes(users, lambda image, _volume: image == name)


def prune_images(users: ImageUsers, *, unused: bool = False) -> tuple[str, ...]:
    """Remove versions that have no name and no user, what was left unfinished, and volumes of both.

    ``unused`` removes the images too that no machine uses. Returns the names of all that went.
    """
    require_answer(users)
    gone: list[str] = []
    owners: set[str] = set()
    if unused:
        for image in list_images():
            if not users.of(image.name):
                remove_image(image.name, users)
                gone.append(image.name)
    current = {image_paths(image.name).directory for image in list_images()}
    for version in _versions():
        is_left = version.name.startswith(_UNFINISHED)
        if version in current or version in users.trees or version.name.startswith(".") != is_left:
            continue
        name = _owner(version)
        try:
            # A build or an import at work holds the lock: nothing of it is left over.
            with image_lock(name, wait=False), _explained(version.name):
                shutil.rmtree(version)
        except LockedError:
            continue
        owners.add(name)
        gone.append(version.name)
    gone += abandon_downloads()
    # Only of images known here: the others may be those of another controller of this hypervisor.
    known = {image.name: volume_name(image.name) for image in list_images()}
    known |= {name: None for name in owners if name not in known}
    return (*gone, *_delete_volumes(users, lambda name, volume: name in known and volume != known[name]))


def _versions() -> list[Path]:
    try:
        return sorted((image_directory() / VERSIONS).resolve().iterdir())
    except FileNotFoundError:
        return []


def _owner(version: Path) -> str:
    """Return the image that a version belongs to, by its manifest, else by its name."""
    try:
        name = str(read_image_manifest(version / "image.json").get("name") or "")
    except DamagedFileError:
        name = ""
    bare = version.name
    for mark in _UNFINISHED:
        bare = bare.removeprefix(mark)
    return name or re.sub(r"-[0-9a-f]{16}$|-\d{8}T\d{6}$", "", bare)


def _delete_volumes(users: ImageUsers, is_gone: Callable[[str, str], bool]) -> tuple[str, ...]:
    """Delete the volumes that are gone by their image and name; those in use stay. Return their names."""
    try:
        connection = connect("qemu:///system")
    except HypervisorError:
        # It lacks VMs, so it has no volumes for them.
        return ()
    gone = []
    with translated("image"):
        pool = find_pool(connection, image_pool())
        if pool is None or not pool.isActive():
            return ()
        for name in sorted(volume_names(pool) - users.volumes):
            image = _VOLUME.fullmatch(name)
            if image and is_gone(image[1], name) and delete_volume(pool, name):
                gone.append(name)
    return tuple(gone)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LabrunError(f"cannot remove {name}: {error.strerror or error}", step="image") from error
