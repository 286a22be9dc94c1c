"""Pools and volumes on libvirt's own test driver, which keeps them in memory."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

import pytest

from labrun.errors import ForeignObjectError, HypervisorError
from labrun.hypervisor import connect
from labrun.tasks.provision.volumes import (
    BASE,
    Pool,
    create_qcow2,
    create_raw,
    delete_volume,
    ensure_pool,
    find_pool,
    find_volume,
    image_pool,
    lab_pool,
    remove_pool,
    volume_names,
)

GIB = 1024**3


@pytest.fixture
def connection() -> Any:
    return connect("test:///default")


@pytest.fixture
def pool(connection: Any) -> Iterator[Any]:
    wanted = lab_pool(f"t-{uuid4().hex[:8]}")
    yield ensure_pool(connection, wanted)
    left = find_pool(connection, wanted)
    if left is not None:
        remove_pool(left)


def test_no_lab_can_have_the_pool_of_the_images() -> None:
    assert image_pool() == Pool("labrun.images", BASE / "pool-images")
    assert lab_pool("images") == Pool("labrun-images", BASE / "pools" / "images")


def test_a_pool_is_made_once_and_found_again(connection: Any, pool: Any) -> None:
    name = pool.name()
    wanted = lab_pool(name.removeprefix("labrun-"))
    assert pool.isActive()
    assert pool.autostart()
    assert ET.fromstring(pool.XMLDesc(0)).findtext("./target/path") == str(wanted.directory)
    again = ensure_pool(connection, wanted)
    assert again.UUIDString() == pool.UUIDString()


def test_a_stopped_pool_is_started(connection: Any, pool: Any) -> None:
    pool.destroy()
    assert ensure_pool(connection, lab_pool(pool.name().removeprefix("labrun-"))).isActive()


def test_a_pool_elsewhere_is_somebody_elses(connection: Any, pool: Any) -> None:
    name = pool.name()
    with pytest.raises(ForeignObjectError) as caught:
        ensure_pool(connection, Pool(name, PurePosixPath("/srv/other")))
    assert str(caught.value) == (
        f"storage: the storage pool {name} exists and is not labrun's "
        f"(labrun's has the directory /srv/other; see `virsh pool-dumpxml {name}`)"
    )
    assert caught.value.exit_code == 5


def test_volumes_come_and_go(pool: Any) -> None:
    create_raw(pool, "seed.iso", 4096)
    volume = create_qcow2(pool, "disk.qcow2", 3, "/images/base.qcow2", least=2 * GIB)
    root = ET.fromstring(volume.XMLDesc(0))
    assert root.findtext("capacity") == str(3 * GIB)
    assert root.findtext("./backingStore/path") == "/images/base.qcow2"
    assert root.findtext("./target/permissions/mode") == "0600"
    assert volume_names(pool) == {"seed.iso", "disk.qcow2"}
    assert delete_volume(pool, "seed.iso") is True
    assert delete_volume(pool, "seed.iso") is False
    assert find_volume(pool, "seed.iso") is None
    assert volume_names(pool) == {"disk.qcow2"}


def test_a_disk_smaller_than_its_image_is_refused(pool: Any) -> None:
    with pytest.raises(HypervisorError) as caught:
        create_qcow2(pool, "disk.qcow2", 2, "/images/base.qcow2", least=2 * GIB + 1)
    assert str(caught.value) == "storage: a disk of 2 GiB is too small for the image (set disk to 3 or more)"
    assert volume_names(pool) == frozenset()


def test_a_pool_goes_with_its_volumes(connection: Any, pool: Any) -> None:
    name = pool.name()
    create_raw(pool, "left.img", 512)
    remove_pool(pool)
    assert find_pool(connection, lab_pool(name.removeprefix("labrun-"))) is None


def test_a_stopped_pool_goes_too(connection: Any, pool: Any) -> None:
    name = pool.name()
    pool.destroy()
    remove_pool(pool)
    assert find_pool(connection, lab_pool(name.removeprefix("labrun-"))) is None
