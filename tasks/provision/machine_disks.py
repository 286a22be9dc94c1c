"""The volumes of one VM: created from the image and the seed, read back, and grown."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection
from typing import Any

from labrun.errors import HypervisorError
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.image_store import image_paths
from labrun.tasks.provision.image_volume import find_image_volume, no_disk
from labrun.tasks.provision.machines import POOL_OFF
from labrun.tasks.provision.qemu_xml import MachineFiles, disk_xml
from labrun.tasks.provision.seed_iso import seed_iso
from labrun.tasks.provision.volume_stream import read_volume, write_volume
from labrun.tasks.provision.volumes import (
    Pool,
    create_qcow2,
    create_raw,
    delete_volume,
    find_volume,
    volume_names,
)
from labrun.tasks.state.item import Attributes

__all__ = [
    "disk_commands",
    "disk_settings",
    "grow_disks",
    "image_of",
    "image_size",
    "make_volumes",
    "remove_volumes",
    "virtual_size",
]

_GIB = 1024**3
# Big-endian, in the header of every qcow2 version (docs/interop/qcow2.txt in QEMU's source).
_SIZE_AT, _SIZE_END = 24, 32
_SYSTEM_DISK, _OTHER_DISKS = "vda", ("vda", "vdb")


def image_of(connection: Any, where: Pool, spec: MachineSpec) -> Any:
    """Return the volume of a VM's image. Raises HypervisorError if there is none."""
    image = find_image_volume(connection, where, spec.image)
    if image is None:
        raise HypervisorError(
            f"the image {spec.image} is not on the hypervisor",
            host=spec.host,
            step="image",
            hint="`labrun up` uploads it",
        )
    return image


def virtual_size(connection: Any, volume: Any) -> int:
    """Return the size in bytes of a qcow2 volume as the guest sees it, from its header.

    Until a pool refresh, libvirt reports the size of the file instead.
    """
    header = read_volume(connection, volume, 0, _SIZE_END)
    return int.from_bytes(header[_SIZE_AT:_SIZE_END], "big")


def image_size(connection: Any, where: Pool, image: str) -> int:
    """Return the virtual size in bytes of an image, on the hypervisor or still here.

    Raises HypervisorError if it is in neither place.
    """
    volume = find_image_volume(connection, where, image)
    if volume is not None:
        return virtual_size(connection, volume)
    try:
        with image_paths(image).disk.open("rb") as file:
            header = file.read(_SIZE_END)
    except OSError as error:
        raise no_disk(image) from error
    return int.from_bytes(header[_SIZE_AT:_SIZE_END], "big")


def make_volumes(
    connection: Any, pool: Any, files: MachineFiles, spec: MachineSpec, image: str, least: int
) -> None:
    """Create overlay, seed, extra disks and console log, replacing leftovers of a killed run.

    ``image`` is the path of the image's volume and ``least`` its virtual size in bytes.
    """
    remove_volumes(pool, files)
    create_qcow2(pool, files.disk, spec.disk, image, least=least)
    for number, size in enumerate(spec.disks, start=1):
        create_qcow2(pool, files.further(number), size)
    content = seed_iso(spec.seed)
    write_volume(connection, create_raw(pool, files.seed, len(content)), content)
    # Created here so that libvirt knows it as a volume, which can be read remotely.
    create_raw(pool, files.console, 0)


def remove_volumes(pool: Any, files: MachineFiles, keep: Collection[str] = ()) -> None:
    """Delete the volumes of one machine, as libvirt knows them, but for those at the paths to ``keep``."""
    for name in sorted(filter(files.owns, volume_names(pool))):
        if files.path(name) not in keep:
            delete_volume(pool, name)


def disk_settings(pool: Any, files: MachineFiles, xml: str) -> dict[str, str]:
    """Return ``disk`` and ``disks`` in GiB, ``missing`` for a volume that does not exist.

    ``pool-off`` = the pool is stopped or undefined, so that nothing can be said of its volumes.
    """
    count = _extra_disks(xml)
    return {
        "disk": _gib(pool, files.disk),
        "disks": " ".join(_gib(pool, files.further(number)) for number in range(1, count + 1)),
    }


def _extra_disks(xml: str) -> int:
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    targets = [target.get("dev") for target in root.findall("./devices/disk/target")]
    return sum(target not in _OTHER_DISKS for target in targets)


def _gib(pool: Any, name: str) -> str:
    import libvirt

    if pool is None or not pool.isActive():
        return POOL_OFF
    volume = find_volume(pool, name)
    if volume is None:
        return "missing"
    try:
        size = int(volume.info()[1])
    except libvirt.libvirtError:
        # libvirt knows the volume, but its file is gone.
        return "missing"
    return str(size // _GIB)


def disk_commands(
    virsh: str, pool: str, files: MachineFiles, spec: MachineSpec, have: Attributes, *, is_on: bool
) -> list[str]:
    """Return the commands that grow the disks of a VM and add new ones; ``have`` are its sizes now."""
    before = [have.get("disk", ""), *have.get("disks", "").split()]
    after = [spec.disk, *spec.disks]
    names = [files.disk, *(files.further(number) for number in range(1, len(spec.disks) + 1))]
    lines = []
    for index, (name, size) in enumerate(zip(names, after, strict=True)):
        if index >= len(before):
            lines.append(f"{virsh} vol-create-as {pool} {name} {size}G --format qcow2")
            for flag in ("--live", "--config") if is_on else ("--config",):
                attach = f"{virsh} attach-device {spec.domain} /dev/stdin {flag}"
                lines.append(f"{attach} <<'XML'\n{disk_xml(files, index)}\nXML")
        elif before[index] != str(size):
            grow = f"blockresize {spec.domain} {files.path(name)} {size}G"
            lines.append(f"{virsh} {grow if is_on else f'vol-resize --pool {pool} {name} {size}G'}")
    return lines


def grow_disks(domain: Any, pool: Any, files: MachineFiles, spec: MachineSpec, xml: str) -> None:
    """Grow volumes to the spec's sizes and add new disks, immediately if the VM is running."""
    import libvirt

    count = _extra_disks(xml)
    # There may be more than defined, if an update was killed before it changed the definition.
    plugged = _extra_disks(domain.XMLDesc(0)) if domain.isActive() else 0
    names = [files.disk, *(files.further(number) for number in range(1, len(spec.disks) + 1))]
    for index, (name, size) in enumerate(zip(names, (spec.disk, *spec.disks), strict=True)):
        if index > max(count, plugged):
            # The definition follows, so an existing volume of that name is left from an interrupted update.
            delete_volume(pool, name)
            create_qcow2(pool, name, size)
            if domain.isActive():
                domain.attachDeviceFlags(disk_xml(files, index), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        elif int(_gib(pool, name)) < size:
            if domain.isActive():
                flags = libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
                domain.blockResize(files.path(name), size * _GIB, flags)
            else:
                find_volume(pool, name).resize(size * _GIB, 0)
