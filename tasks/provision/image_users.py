"""Who uses an image: machines by their tags, containers' overlays, and disks with it as backing file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from labrun.errors import HypervisorError, NoLibvirtError
from labrun.hypervisor import connect, translated
from labrun.tasks.provision.domains import tagged_domains
from labrun.tasks.provision.image_manifest import read_image_manifest
from labrun.tasks.provision.image_volume import backing_volumes
from labrun.tasks.provision.overlay import LABS
from labrun.tasks.provision.snapshot_store import FORKS, SNAPSHOTS
from labrun.tasks.provision.volumes import LAB_POOLS

__all__ = ["LOCAL", "ImageUsers", "find_users"]

LOCAL = ("lxc:///system", "qemu:///system")
"""The hypervisors of this machine."""
_VOLUME = re.compile(r"(.+)-[0-9a-f]{16}\.qcow2")


@dataclass(frozen=True, slots=True)
class ImageUsers:
    """What stands on images now.

    ``machines`` has LAB/HOST by image. ``trees`` are the version directories under containers, ``volumes``
    the names of the images' volumes under VMs. ``unasked`` is the reason why no hypervisor was asked,
    ``remedy`` what to do about that.
    """

    machines: Mapping[str, tuple[str, ...]]
    trees: frozenset[Path] = frozenset()
    volumes: frozenset[str] = frozenset()
    unasked: str = ""
    remedy: str = "start libvirtd"

    def of(self, image: str) -> tuple[str, ...]:
        """Return the machines of an image, LAB/HOST, in order."""
        return self.machines.get(image, ())


def find_users() -> ImageUsers:
    """Ask the hypervisors of this machine, and the one of ``LABRUN_HYPERVISOR``, for users of images.

    One that lacks a driver has no machines of it. If none answers, ``unasked`` says why, and only what lies
    on this machine's disk is known.
    """
    found: set[tuple[str, str]] = set()
    volumes: set[str] = set()
    errors = []
    own = os.environ.get("LABRUN_HYPERVISOR", "")
    uris = dict.fromkeys([*LOCAL, *([own] if own not in ("", "auto") else [])])
    for uri in uris:
        try:
            connection = connect(uri)
            with translated("image"):
                found.update(_tagged(connection, volumes))
                found.update(_under_disks(connection, volumes))
        except HypervisorError as error:
            errors.append(error)
    trees = {}
    for note in sorted(LABS.glob("*/*/complete")):
        tree = Path(note.read_text(encoding="utf-8").rpartition(":")[2]).parent
        trees[tree] = str(read_image_manifest(tree / "image.json").get("name") or "")
        found.add((trees[tree], f"{note.parent.parent.name}/{note.parent.name}"))
    for image, user in _in_snapshots(trees, volumes):
        found.add((image, user))
    machines: dict[str, tuple[str, ...]] = {}
    for image, machine in sorted(found):
        machines[image] = (*machines.get(image, ()), machine)
    silent = errors[0] if len(errors) == len(uris) else None
    return ImageUsers(
        MappingProxyType(machines),
        frozenset(trees),
        frozenset(volumes),
        silent.reason if silent is not None else "",
        (silent.hint or "") if isinstance(silent, NoLibvirtError) else "start libvirtd",
    )


def _in_snapshots(trees: dict[Path, str], volumes: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the users that are kept in snapshots, whose machines may be gone or stand on another version."""
    copies = [(store.noun, copy) for store in (SNAPSHOTS, FORKS) for copy in store.all()]
    for noun, snapshot in copies:
        for host, kept in snapshot.machines.items():
            if (tree := kept.tree) is not None:
                trees[tree] = kept.image or str(read_image_manifest(tree / "image.json").get("name") or "")
                image = trees[tree]
            else:
                volumes.add(kept.base)
                image = kept.image
            yield image, f"{snapshot.lab}/{host} ({noun} {snapshot.name})"


def _tagged(connection: Any, volumes: set[str]) -> Iterator[tuple[str, str]]:
    for _, tag, _ in tagged_domains(connection):
        if image := tag.extra.get("image"):
            yield image, f"{tag.lab}/{tag.host}"
        if volume := tag.extra.get("image-volume"):
            volumes.add(volume)


def _under_disks(connection: Any, volumes: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the users that only their disks tell of: a machine in creation, or one that was undefined."""
    for pool, disk, backing in backing_volumes(connection):
        name = PurePosixPath(backing).name
        volumes.add(name)
        if image := _VOLUME.fullmatch(name):
            yield image[1], f"{pool.removeprefix(LAB_POOLS)}/{disk.split('.')[0]}"
