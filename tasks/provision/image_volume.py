"""An image as a volume of the hypervisor: named by its content, so that a new build is a new volume."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import is_active, unless_gone
from labrun.outcome import HYPERVISOR
from labrun.progress import Amount, report
from labrun.tasks.provision.domains import tagged_domains
from labrun.tasks.provision.image_catalogue import source_of_image
from labrun.tasks.provision.image_store import disk_digest, image_paths
from labrun.tasks.provision.volume_stream import is_complete, upload_image
from labrun.tasks.provision.volumes import (
    LAB_POOLS,
    Pool,
    delete_volume,
    ensure_pool,
    find_pool,
    find_volume,
    refresh,
    volume_names,
)

__all__ = ["backing_volumes", "bring_image", "find_image_volume", "no_disk", "prune_versions", "volume_name"]

_MB = 1_000_000


def no_disk(image: str) -> HypervisorError:
    """Return the error for an image that neither the controller nor the hypervisor has."""
    hint = source_of_image(image, "qemu")
    return HypervisorError(f"the image {image} has no disk for VMs", step="image", hint=hint)


def volume_name(image: str) -> str | None:
    """Return the volume's name for the controller's version of the image, None if it has none."""
    digest = disk_digest(image_paths(image))
    return f"{image}-{digest[:16]}.qcow2" if digest else None


def find_image_volume(connection: Any, where: Pool, image: str) -> Any:
    """Return the image's volume, None if it is missing or incomplete.

    If the controller does not have the image, another one may have uploaded it: then a single version of it
    is accepted.
    """
    pool = find_pool(connection, where)
    if pool is None or not pool.isActive():
        return None
    name = volume_name(image)
    if name is None:
        names = _versions(pool, image)
        if len(names) != 1:
            return None
        name = names[0]
    volume = find_volume(pool, name)
    return volume if volume is not None and is_complete(connection, volume) else None


def _versions(pool: Any, image: str) -> list[str]:
    pattern = re.compile(re.escape(image) + r"-[0-9a-f]{16}\.qcow2")
    return [name for name in volume_names(pool) if pattern.fullmatch(name)]


def bring_image(connection: Any, where: Pool, image: str) -> bool:
    """Upload the image's qcow2 from the controller; return True if it was missing.

    Raises HypervisorError if neither the controller nor the hypervisor has it.
    """
    name = volume_name(image)
    here = find_image_volume(connection, where, image)
    if here is not None:
        if name is not None:
            # The others are still there if a run was killed between uploading this version and this step.
            prune_versions(connection, find_pool(connection, where), image, name)
        return False
    if name is None:
        raise no_disk(image)
    pool = ensure_pool(connection, where)

    disk = image_paths(image).disk
    megabytes = disk.stat().st_size / _MB

    def show(share: float) -> None:
        report(HYPERVISOR, "upload", image, amount=Amount(share * megabytes, megabytes))

    done = upload_image(connection, pool, name, disk, show)
    if done:
        # Until the refresh, libvirt takes the volume for a raw one and lists it as such.
        refresh(pool)
        prune_versions(connection, pool, image, name)
    return done


def prune_versions(connection: Any, pool: Any, image: str, keep: str) -> tuple[str, ...]:
    """Delete the volumes of earlier versions of an image that no machine uses; return their names.

    A version is in use if the tag of any lab's machine names it, or if a volume in any lab's pool has it as
    backing file: that machine may be in creation right now.
    """
    old = set(_versions(pool, image)) - {keep}
    if not old:
        return ()
    used = {tag.extra.get("image-volume", "") for _, tag, _ in tagged_domains(connection)}
    used |= {PurePosixPath(path).name for _, _, path in backing_volumes(connection)}
    gone = sorted(old - used)
    for name in gone:
        delete_volume(pool, name)
    return tuple(gone)


def backing_volumes(connection: Any) -> Iterator[tuple[str, str, str]]:
    """Yield (pool, volume, path of its backing file) of every disk in the labs' pools that has one."""
    for pool in connection.listAllStoragePools():
        if pool.name().startswith(LAB_POOLS) and is_active(pool):
            volumes = []
            with unless_gone():
                volumes = pool.listAllVolumes()
            for volume in volumes:
                path = None
                with unless_gone():
                    root = ET.fromstring(volume.XMLDesc(0))  # noqa: S314 - libvirt's own output
                    path = root.findtext("./backingStore/path")
                if path:
                    yield pool.name(), volume.name(), path
