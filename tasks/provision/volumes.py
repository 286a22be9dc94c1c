"""The hypervisor's storage through libvirt: labrun's directory pools and the volumes in them."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from labrun.errors import HypervisorError
from labrun.tasks.provision.owned import Kind, find_own

__all__ = [
    "BASE",
    "IMAGE_POOL",
    "LAB_POOLS",
    "Pool",
    "create_qcow2",
    "create_raw",
    "delete_volume",
    "ensure_pool",
    "find_pool",
    "find_volume",
    "image_pool",
    "lab_pool",
    "refresh",
    "remove_pool",
    "require_room",
    "volume_names",
]

BASE = PurePosixPath("/var/lib/labrun")
# A lab's name has no dot, so no lab's pool can have this name.
IMAGE_POOL = "labrun.images"
LAB_POOLS = "labrun-"
"""The name prefix of every lab's pool."""

_GIB = 1024**3
_REFRESH_DEADLINE = 10.0
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Pool:
    """A directory pool of labrun, identified by its name and directory together.

    libvirt's pools have no ``<metadata>``: a pool of this name with another directory is foreign.
    """

    name: str
    directory: PurePosixPath


def image_pool(base: PurePosixPath = BASE) -> Pool:
    """Return the pool that holds the images of all labs."""
    return Pool(IMAGE_POOL, base / "pool-images")


def lab_pool(lab: str, base: PurePosixPath = BASE) -> Pool:
    """Return the pool that holds the volumes of one lab."""
    return Pool(f"{LAB_POOLS}{lab}", base / "pools" / lab)


def find_pool(connection: Any, pool: Pool) -> Any:
    """Return libvirt's pool, None if there is none. Raises ForeignObjectError."""
    kind = Kind(
        "storage pool",
        "storage",
        "storagePoolLookupByName",
        "VIR_ERR_NO_STORAGE_POOL",
        f"labrun's has the directory {pool.directory}; see",
        "pool-dumpxml",
        "labrun's",
    )
    return find_own(connection, kind, pool.name, lambda existing: _is_at(existing, pool.directory))


def _is_at(pool: Any, directory: PurePosixPath) -> bool:
    root = ET.fromstring(pool.XMLDesc(0))  # noqa: S314 - libvirt's own output
    return root.get("type") == "dir" and PurePosixPath(root.findtext("./target/path") or "") == directory


def ensure_pool(connection: Any, pool: Pool) -> Any:
    """Return the pool, defined and active. Raises ForeignObjectError if a foreign pool has the name."""
    import libvirt

    with _lock:
        existing = find_pool(connection, pool)
        if existing is None:
            try:
                existing = connection.storagePoolDefineXML(_pool_xml(pool), 0)
            except libvirt.libvirtError:
                # Another labrun may have created it first.
                existing = find_pool(connection, pool)
                if existing is None:
                    raise
        if not existing.isActive():
            existing.build(0)
            existing.setAutostart(1)
            try:
                existing.create(0)
            except libvirt.libvirtError:
                if not existing.isActive():
                    raise
        return existing


def _pool_xml(pool: Pool) -> str:
    root = ET.Element("pool", {"type": "dir"})
    ET.SubElement(root, "name").text = pool.name
    target = ET.SubElement(root, "target")
    ET.SubElement(target, "path").text = str(pool.directory)
    # QEMU's user must be able to reach its files, but not to list the directory.
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = "0711"
    return ET.tostring(root, encoding="unicode")


def refresh(pool: Any) -> None:
    """Let libvirt rescan the directory; wait while volumes are being written there."""
    import libvirt

    deadline = time.monotonic() + _REFRESH_DEADLINE
    while True:
        try:
            pool.refresh(0)
        except libvirt.libvirtError:
            # libvirt refuses with an "internal error" while any volume of the pool is being created.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def volume_names(pool: Any) -> frozenset[str]:
    """Return the names of the pool's volumes as libvirt knows them, without looking at the disk."""
    return frozenset(pool.listVolumes())


def find_volume(pool: Any, name: str) -> Any:
    """Return the volume, None if libvirt knows none of that name."""
    import libvirt

    try:
        return pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            return None
        raise


def delete_volume(pool: Any, name: str) -> bool:
    """Delete a volume; return False if there was none."""
    import libvirt

    volume = find_volume(pool, name)
    if volume is None:
        return False
    try:
        volume.delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
    return True


def remove_pool(pool: Any, keep: Collection[str] = ()) -> None:
    """Delete every volume, the directory and the pool itself; if a path is to ``keep``, only other volumes.

    Raises HypervisorError if the directory contains anything but volumes.
    """
    import libvirt

    if not pool.isActive():
        # A pool whose directory is gone cannot be started, and has nothing to delete.
        try:
            pool.build(0)
            pool.create(0)
        except libvirt.libvirtError:
            pool.undefine()
            return
    refresh(pool)
    directory = ET.fromstring(pool.XMLDesc(0)).findtext("./target/path")  # noqa: S314 - libvirt's own output
    names = volume_names(pool)
    kept = {name for name in names if f"{directory}/{name}" in keep}
    for name in sorted(names - kept):
        delete_volume(pool, name)
    if kept:
        return
    pool.destroy()
    try:
        pool.delete(0)
    except libvirt.libvirtError as error:
        raise HypervisorError(
            f"cannot delete {directory}: {error.get_error_message()}",
            step="storage",
            hint="it holds something that is not labrun's",
        ) from error
    pool.undefine()


def create_raw(pool: Any, name: str, size: int) -> Any:
    """Create a sparse raw volume of ``size`` bytes, readable only by its owner."""
    return pool.createXML(_volume_xml(name, size, "raw", None), 0)


def create_qcow2(pool: Any, name: str, gib: int, backing: str | None = None, *, least: int = 0) -> Any:
    """Create a qcow2 volume of ``gib`` GiB, as an overlay if ``backing`` is the path of an image.

    ``least`` is the size in bytes that the guest needs to hold all of its image. Raises HypervisorError if
    the volume would be smaller.
    """
    require_room(gib, least)
    return pool.createXML(_volume_xml(name, gib * _GIB, "qcow2", backing), 0)


def require_room(gib: int, least: int) -> None:
    """Raise HypervisorError if a disk of ``gib`` GiB holds less than ``least`` bytes."""
    if gib * _GIB < least:
        raise HypervisorError(
            f"a disk of {gib} GiB is too small for the image",
            step="storage",
            hint=f"set disk to {-(-least // _GIB)} or more",
        )


def _volume_xml(name: str, size: int, kind: str, backing: str | None) -> str:
    root = ET.Element("volume", {"type": "file"})
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "capacity", {"unit": "bytes"}).text = str(size)
    ET.SubElement(root, "allocation", {"unit": "bytes"}).text = "0"
    target = ET.SubElement(root, "target")
    ET.SubElement(target, "format", {"type": kind})
    # The seed holds host keys, and a guest's disk is private.
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = "0600"
    if backing is not None:
        store = ET.SubElement(root, "backingStore")
        ET.SubElement(store, "path").text = backing
        ET.SubElement(store, "format", {"type": "qcow2"})
    return ET.tostring(root, encoding="unicode")
