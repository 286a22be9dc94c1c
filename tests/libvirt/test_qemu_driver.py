"""The qemu driver on a real libvirtd, with a guest of one boot sector that lives for milliseconds."""

from __future__ import annotations

import logging
import os
import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import libvirt
import pytest

from labrun.errors import ForeignObjectError, HypervisorError, LabrunError
from labrun.hypervisor import connect
from labrun.ownership import read_tag
from labrun.tasks.provision import kvm_probe
from labrun.tasks.provision.driver import MachineSpec, NicSpec, Seed
from labrun.tasks.provision.image_import import import_image
from labrun.tasks.provision.image_removal import prune_images, remove_image
from labrun.tasks.provision.image_store import image_paths
from labrun.tasks.provision.image_users import find_users
from labrun.tasks.provision.image_volume import find_image_volume, volume_name
from labrun.tasks.provision.kvm_probe import KvmVerdict, kvm_verdict, probe
from labrun.tasks.provision.machines import wanted_settings
from labrun.tasks.provision.qemu import QemuDriver
from labrun.tasks.provision.volume_stream import is_complete, read_volume, upload_image
from labrun.tasks.provision.volumes import (
    create_raw,
    delete_volume,
    ensure_pool,
    find_pool,
    find_volume,
    image_pool,
    lab_pool,
    refresh,
    volume_names,
)
from tests.leftovers import note
from tests.shares import of_ci
from tests.tiny_guest import GREETING, tiny_disk

URI = "qemu:///system"


def _has_libvirtd() -> bool:
    try:
        return bool(connect(URI).isAlive()) and shutil.which("qemu-img") is not None
    except HypervisorError:
        return False


pytestmark = pytest.mark.skipif(not _has_libvirtd(), reason="needs libvirtd and qemu-img")


def _until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.05)
    return found


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(tmp_path / "images"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kvm_probe, "_known", {})


@pytest.fixture
def connection() -> Any:
    return connect(URI)


@pytest.fixture
def image(connection: Any, tmp_path: Path) -> Iterator[str]:
    name = f"t-image-{uuid4().hex[:8]}"
    import_image(tiny_disk(tmp_path / "tiny.qcow2"), name)
    volume = volume_name(name)
    assert volume is not None
    yield name
    pool = find_pool(connection, image_pool())
    if pool is not None:
        delete_volume(pool, volume)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> QemuDriver:
    # Which of the two it is makes no difference here, and the probe has a test of its own.
    monkeypatch.setattr(QemuDriver, "kvm", lambda _self: KvmVerdict(False, "a test"))
    return QemuDriver(URI)


@pytest.fixture
def spec(driver: QemuDriver, image: str) -> Iterator[MachineSpec]:
    lab = note(f"t-{uuid4().hex[:8]}")
    yield MachineSpec(
        lab=lab,
        host="h1",
        domain=f"{lab}-h1",
        image=image,
        memory=64,
        vcpus=1,
        disk=1,
        nics=(),
        seed=Seed("instance-id: i\n", "#cloud-config\n", ""),
        user="lab",
    )
    for host, machine in driver.observe(lab).items():
        driver.remove(lab, host, machine.full_name)
    driver.remove_lab(lab)


def _volumes(spec: MachineSpec) -> frozenset[str]:
    pool = find_pool(connect(URI), lab_pool(spec.lab))
    return frozenset() if pool is None else volume_names(pool)


def _settings(driver: QemuDriver, spec: MachineSpec) -> dict[str, str]:
    return dict(driver.observe(spec.lab)[spec.host].defined)


def test_an_image_is_used_by_a_machine_and_by_its_disk_alone(
    driver: QemuDriver, spec: MachineSpec, connection: Any
) -> None:
    driver.prepare_image(spec.image)
    assert find_users().of(spec.image) == ()
    driver.create(spec)
    assert find_users().of(spec.image) == (f"{spec.lab}/h1",)
    # Somebody undefines it: its disk still stands on the image.
    connection.lookupByName(spec.domain).undefine()
    users = find_users()
    assert users.of(spec.image) == (f"{spec.lab}/h1",)
    volume = volume_name(spec.image)
    assert volume in users.volumes
    with pytest.raises(LabrunError, match=rf"^image: used by {spec.lab}/h1 "):
        remove_image(spec.image, users)
    assert prune_images(users) == ()
    pool = find_pool(connection, image_pool())
    assert volume in volume_names(pool)
    driver.remove(spec.lab, "h1", spec.domain)
    driver.remove_lab(spec.lab)
    remove_image(spec.image, find_users())
    assert volume not in volume_names(pool)
    assert image_paths(spec.image).disk.exists() is False


def test_a_machine_from_nothing_to_nothing(driver: QemuDriver, spec: MachineSpec, connection: Any) -> None:
    assert driver.image_ready(spec.image) is False
    assert driver.prepare_image(spec.image) is True
    assert driver.image_ready(spec.image) is True
    assert driver.prepare_image(spec.image) is False

    driver.create(spec)
    observed = driver.observe(spec.lab)
    assert list(observed) == ["h1"]
    assert observed["h1"].state == "shut off"
    assert dict(observed["h1"].defined) == wanted_settings("qemu", spec)
    domain = connection.lookupByName(spec.domain)
    tag = read_tag(domain.XMLDesc(0))
    assert tag is not None
    assert (tag.lab, tag.host, tag.extra["image-volume"]) == (spec.lab, "h1", volume_name(spec.image))

    driver.start(spec)
    driver.start(spec.domain)
    _until(lambda: GREETING in driver.console_tail(spec.domain))
    assert driver.console_tail(spec.domain, lines=1) == GREETING
    assert driver.out_of_band(spec.domain) is None
    assert driver.restart_owed(spec.domain) == ()

    # This guest does not know a power button.
    assert driver.stop(spec.domain, 0.3) is False
    assert driver.stop(spec.domain, 0.3) is True
    assert driver.observe(spec.lab)["h1"].state == "shut off"

    driver.remove(spec.lab, "h1", spec.domain)
    assert driver.observe(spec.lab) == {}
    assert _volumes(spec) == frozenset()
    driver.remove(spec.lab, "h1", spec.domain)
    directory = Path(str(lab_pool(spec.lab).directory))
    assert directory.exists()
    driver.remove_lab(spec.lab)
    driver.remove_lab(spec.lab)
    assert find_pool(connection, lab_pool(spec.lab)) is None
    assert not directory.exists()


def test_machines_are_made_and_removed_at_the_same_time(driver: QemuDriver, spec: MachineSpec) -> None:
    driver.prepare_image(spec.image)
    names = [f"h{number}" for number in range(1, 7)]
    specs = [replace(spec, host=name, domain=f"{spec.lab}-{name}") for name in names]
    with ThreadPoolExecutor(len(specs)) as threads:
        list(threads.map(driver.create, specs))
        assert sorted(driver.observe(spec.lab)) == names
        list(threads.map(lambda one: driver.remove(one.lab, one.host, one.domain), specs))
    assert driver.observe(spec.lab) == {}
    assert _volumes(spec) == frozenset()


def test_create_again_keeps_the_machine(driver: QemuDriver, spec: MachineSpec, connection: Any) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    before, uuid = driver.observe(spec.lab)["h1"], connection.lookupByName(spec.domain).UUIDString()
    driver.create(replace(spec, seed=Seed("instance-id: other\n", "", "")))
    assert driver.observe(spec.lab)["h1"] == before
    assert connection.lookupByName(spec.domain).UUIDString() == uuid


def test_what_a_killed_run_left_is_replaced(driver: QemuDriver, spec: MachineSpec, connection: Any) -> None:
    driver.prepare_image(spec.image)
    pool = ensure_pool(connection, lab_pool(spec.lab))
    for name in ("h1.qcow2", "h1-seed.iso", "h1.disk3.qcow2", "h10.qcow2"):
        create_raw(pool, name, 512)
    driver.create(spec)
    assert _volumes(spec) == {"h1.qcow2", "h1-seed.iso", "h1-console.log", "h10.qcow2"}
    assert dict(_settings(driver, spec)) == wanted_settings("qemu", spec)


def test_a_machine_that_is_retired_is_made_anew_on_fresh_files(
    driver: QemuDriver, spec: MachineSpec, connection: Any
) -> None:
    driver.prepare_image(spec.image)
    driver.create(replace(spec, disks=(1,)))
    driver.start(spec)
    driver.rehearse(spec)
    before = _volumes(spec)
    driver.retire(spec.lab, spec.domain)
    driver.retire(spec.lab, spec.domain)
    assert (driver.observe(spec.lab), _volumes(spec)) == ({}, before)
    driver.create(replace(spec, seed=Seed("instance-id: second\n", "#cloud-config\n", "")))
    assert _volumes(spec) == {"h1.qcow2", "h1-seed.iso", "h1-console.log"}
    seed = find_volume(find_pool(connection, lab_pool(spec.lab)), "h1-seed.iso")
    assert b"instance-id: second" in read_volume(connection, seed)
    assert _settings(driver, spec) == wanted_settings("qemu", spec)


def test_it_is_known_beforehand_that_a_machine_cannot_be_made(driver: QemuDriver, spec: MachineSpec) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    before = (driver.observe(spec.lab), _volumes(spec))
    with pytest.raises(HypervisorError, match="a disk of 0 GiB is too small for the image"):
        driver.rehearse(replace(spec, disk=0))
    with pytest.raises(HypervisorError, match="the image t-nowhere has no disk for VMs"):
        driver.rehearse(replace(spec, image="t-nowhere"))
    assert (driver.observe(spec.lab), _volumes(spec)) == before


def test_versions_that_a_killed_run_left_go_with_the_next(
    driver: QemuDriver, spec: MachineSpec, connection: Any
) -> None:
    driver.prepare_image(spec.image)
    pool = find_pool(connection, image_pool())
    stale = f"{spec.image}-0123456789abcdef.qcow2"
    create_raw(pool, stale, 512)
    assert driver.prepare_image(spec.image) is False
    assert stale not in volume_names(pool)
    assert driver.image_ready(spec.image)


def test_disks_of_probes_that_were_killed_go_after_a_while(connection: Any) -> None:
    pool = ensure_pool(connection, image_pool())
    names = [f"labrun-probe-{kind}-{uuid4().hex[:8]}.img" for kind in ("old", "new")]
    try:
        for name in names:
            create_raw(pool, name, 512)
        os.utime(Path(str(image_pool().directory), names[0]), (1, 1))
        refresh(pool)
        kvm_probe._delete_abandoned(pool)
        assert [name in volume_names(pool) for name in names] == [False, True]
    finally:
        for name in names:
            delete_volume(pool, name)


def test_the_seed_arrives_whole_and_private(driver: QemuDriver, spec: MachineSpec, connection: Any) -> None:
    driver.prepare_image(spec.image)
    secret = "#cloud-config\n# " + "s" * 300_000 + "\n"
    driver.create(replace(spec, seed=Seed("instance-id: i\n", secret, "")))
    volume = find_volume(find_pool(connection, lab_pool(spec.lab)), "h1-seed.iso")
    content = read_volume(connection, volume)
    assert secret.encode() in content
    mode = ET.fromstring(volume.XMLDesc(0)).findtext("./target/permissions/mode")
    assert mode == "0600"
    assert "sssss" not in connection.lookupByName(spec.domain).XMLDesc(0)


def test_a_foreign_domain_of_the_name_is_left_alone(
    driver: QemuDriver, spec: MachineSpec, connection: Any
) -> None:
    foreign = connection.defineXML(
        f"<domain type='qemu'><name>{spec.domain}</name><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
    )
    try:
        driver.prepare_image(spec.image)
        assert driver.observe(spec.lab) == {}
        with pytest.raises(ForeignObjectError) as caught:
            driver.create(spec)
        assert caught.value.reason == f"the domain {spec.domain} exists and is not this lab's"
        assert caught.value.exit_code == 5
        with pytest.raises(ForeignObjectError):
            driver.remove(spec.lab, "h1", spec.domain)
        with pytest.raises(HypervisorError, match=r"is not labrun's \(labrun leaves it alone\)$"):
            driver.start(spec.domain)
        assert connection.lookupByName(spec.domain).UUIDString() == foreign.UUIDString()
    finally:
        foreign.undefine()


def test_an_image_that_is_nowhere(driver: QemuDriver, spec: MachineSpec) -> None:
    lost = replace(spec, image="t-nowhere")
    with pytest.raises(HypervisorError) as caught:
        driver.prepare_image("t-nowhere")
    assert str(caught.value) == (
        "image: the image t-nowhere has no disk for VMs (labrun image import FILE --name t-nowhere)"
    )
    with pytest.raises(HypervisorError, match=r"^h1: image: the image t-nowhere is not on the hypervisor"):
        driver.create(lost)
    assert driver.observe(spec.lab) == {}


def test_a_disk_smaller_than_the_image(
    driver: QemuDriver, spec: MachineSpec, tmp_path: Path, connection: Any
) -> None:
    import_image(tiny_disk(tmp_path / "big.qcow2", 3 * 1024**3), spec.image)
    volume = volume_name(spec.image)
    assert volume is not None
    try:
        assert driver.prepare_image(spec.image) is True
        with pytest.raises(HypervisorError) as caught:
            driver.create(spec)
        assert caught.value.hint == "set disk to 3 or more"
        driver.create(replace(spec, disk=3))
        assert _settings(driver, spec)["disk"] == "3"
    finally:
        driver.remove(spec.lab, "h1", spec.domain)
        delete_volume(find_pool(connection, image_pool()), volume)


def test_changes_of_a_machine_that_is_off(driver: QemuDriver, spec: MachineSpec, connection: Any) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    wanted = replace(
        spec,
        memory=96,
        vcpus=2,
        autostart=True,
        disk=2,
        disks=(1,),
        nics=(NicSpec("02:00:00:00:00:01", "t-net"),),
    )
    changes = ("memory", "vcpus", "autostart", "disk", "disks", "nics")
    uuid = connection.lookupByName(spec.domain).UUIDString()
    assert driver.update(wanted, changes) is True
    assert connection.lookupByName(spec.domain).UUIDString() == uuid
    assert _settings(driver, spec) == wanted_settings("qemu", wanted)
    assert "h1.disk1.qcow2" in _volumes(spec)
    # And back, as far as nothing is lost.
    fewer = replace(wanted, memory=64, vcpus=1, autostart=False, nics=())
    assert driver.update(fewer, ("memory", "vcpus", "autostart", "nics")) is True
    assert _settings(driver, fewer) == wanted_settings("qemu", fewer)


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"disk": 1}, ("disk",)),
        ({"disks": ()}, ("disks",)),
        ({"firmware": "uefi"}, ("firmware",)),
        ({"image": "other"}, ("image",)),
    ],
)
def test_what_only_a_new_machine_can_carry(
    driver: QemuDriver, spec: MachineSpec, changed: dict[str, Any], names: tuple[str, ...]
) -> None:
    driver.prepare_image(spec.image)
    spec = replace(spec, disk=2, disks=(1,))
    driver.create(spec)
    before = _settings(driver, spec)
    assert driver.update(replace(spec, memory=96, **changed), (*names, "memory")) is False
    assert _settings(driver, spec) == before


def test_changes_of_a_running_machine(
    driver: QemuDriver, spec: MachineSpec, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    driver.start(spec)
    wanted = replace(spec, memory=96, disk=2, disks=(1,))
    with caplog.at_level(logging.INFO, logger="labrun.progress"):
        assert driver.update(wanted, ("memory", "disk", "disks")) is True
    assert "h1: restart owed (memory)" in caplog.messages
    assert _settings(driver, wanted) == wanted_settings("qemu", wanted)
    assert driver.restart_owed(spec.domain) == ("memory",)
    domain = connection.lookupByName(spec.domain)
    assert domain.blockInfo("vda")[0] == 2 * 1024**3
    assert domain.blockInfo("vdc")[0] == 1024**3
    driver.stop(spec.domain, 0.1)
    driver.start(spec.domain)
    assert driver.restart_owed(spec.domain) == ()
    assert domain.info()[1] == 96 * 1024


@pytest.fixture
def network(connection: Any) -> Iterator[str]:
    name = note(f"t-{uuid4().hex[:8]}")
    handle = connection.networkCreateXML(
        f"<network><name>{name}</name><bridge stp='off' delay='0'/></network>"
    )
    yield name
    handle.destroy()


def test_a_running_machine_gets_nics_and_a_disk(driver: QemuDriver, spec: MachineSpec, network: str) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    driver.start(spec)
    nics = (NicSpec("02:00:00:00:00:01", network), NicSpec("02:00:00:00:00:02", network))
    wanted = replace(spec, nics=nics, disks=(1,))
    assert driver.update(wanted, ("nics", "disks")) is True
    assert driver.restart_owed(spec.domain) == ()
    assert _settings(driver, wanted) == wanted_settings("qemu", wanted)


def test_an_update_that_was_killed_before_its_definition_goes_on(
    driver: QemuDriver, spec: MachineSpec, connection: Any
) -> None:
    """The running machine has the disk, its definition does not know of it."""
    driver.prepare_image(spec.image)
    driver.create(spec)
    driver.start(spec)
    domain = connection.lookupByName(spec.domain)
    before = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    wanted = replace(spec, disks=(1,))
    assert driver.update(wanted, ("disks",)) is True
    path = Path(str(lab_pool(spec.lab).directory), "h1.disk1.qcow2")
    file = path.stat().st_ino
    connection.defineXML(before)
    assert driver.update(wanted, ("disks",)) is True
    assert path.stat().st_ino == file, "the guest has it in use"
    assert driver.restart_owed(spec.domain) == ()
    assert _settings(driver, wanted) == wanted_settings("qemu", wanted)


def test_a_nic_that_finds_no_network_is_owed(
    driver: QemuDriver, spec: MachineSpec, caplog: pytest.LogCaptureFixture
) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    driver.start(spec)
    wanted = replace(spec, nics=(NicSpec("02:00:00:00:00:01", "t-no-such-network"),))
    assert driver.update(wanted, ("nics",)) is True
    assert driver.restart_owed(spec.domain) == ("nics",)
    assert "its NICs change at the next start" in caplog.text


def test_a_lost_disk_is_seen(driver: QemuDriver, spec: MachineSpec, connection: Any) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    Path(find_volume(find_pool(connection, lab_pool(spec.lab)), "h1.qcow2").path()).unlink()
    assert _settings(driver, spec)["disk"] == "missing"
    assert driver.update(spec, ("disk",)) is False


@pytest.mark.parametrize(
    "what", of_ci(["stopped", "undefined", "undefined, no directory", "no directory"], ["undefined"])
)
def test_whatever_became_of_its_pool_a_machine_goes_with_its_files(
    what: str, driver: QemuDriver, spec: MachineSpec, connection: Any
) -> None:
    spec = replace(spec, disks=(1,))
    driver.prepare_image(spec.image)
    driver.create(spec)
    pool, directory = find_pool(connection, lab_pool(spec.lab)), Path(str(lab_pool(spec.lab).directory))
    pool.destroy()
    if "undefined" in what:
        pool.undefine()
    if "no directory" in what:
        shutil.rmtree(directory)
    seen = _settings(driver, spec)
    assert (seen["disk"], seen["disks"]) == ("pool-off", "pool-off")
    if "no directory" not in what:
        # The pool is there again, and the disks with it: nothing is lost.
        assert driver.update(spec, ("disk", "disks")) is True
        assert _settings(driver, spec) == wanted_settings("qemu", spec)
        find_pool(connection, lab_pool(spec.lab)).destroy()
        find_pool(connection, lab_pool(spec.lab)).undefine()
    driver.remove(spec.lab, "h1", spec.domain)
    driver.remove_lab(spec.lab)
    assert driver.observe(spec.lab) == {}
    assert find_pool(connection, lab_pool(spec.lab)) is None
    assert not directory.exists()
    driver.remove(spec.lab, "h1", spec.domain)
    driver.remove_lab(spec.lab)
    assert find_pool(connection, lab_pool(spec.lab)) is None


@pytest.mark.parametrize("state", of_ci(["paused", "undefined while it runs", "undefined"], ["undefined"]))
def test_whatever_state_it_is_in_a_machine_goes_with_its_files(
    state: str, driver: QemuDriver, spec: MachineSpec, connection: Any
) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    domain = connection.lookupByName(spec.domain)
    if state != "undefined":
        driver.start(spec)
    if state == "paused":
        domain.suspend()
    else:
        domain.undefine()
    driver.remove(spec.lab, "h1", spec.domain)
    assert (driver.observe(spec.lab), _volumes(spec)) == ({}, frozenset())


def test_uefi_takes_its_variables_along(driver: QemuDriver, spec: MachineSpec, connection: Any) -> None:
    spec = replace(spec, firmware="uefi", memory=128)
    driver.prepare_image(spec.image)
    driver.create(spec)
    assert _settings(driver, spec) == wanted_settings("qemu", spec)
    driver.start(spec)
    nvram = ET.fromstring(connection.lookupByName(spec.domain).XMLDesc(0)).findtext("./os/nvram") or ""
    _until(Path(nvram).exists)
    driver.remove(spec.lab, "h1", spec.domain)
    assert not Path(nvram).exists()


def test_a_paused_machine_goes_on(driver: QemuDriver, spec: MachineSpec, connection: Any) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    driver.start(spec)
    connection.lookupByName(spec.domain).suspend()
    assert driver.observe(spec.lab)["h1"].state == "paused"
    driver.start(spec)
    assert driver.observe(spec.lab)["h1"].state == "running"


def test_an_upload_that_broke_off_is_done_again(image: str, connection: Any, tmp_path: Path) -> None:
    path = tiny_disk(tmp_path / "other.qcow2")
    pool = ensure_pool(connection, image_pool())
    name = volume_name(image)
    assert name is not None

    def interrupt(_share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload_image(connection, pool, name, path, interrupt)
    volume = find_volume(pool, name)
    assert volume is not None
    assert not is_complete(connection, volume)
    assert find_image_volume(connection, image_pool(), image) is None
    assert upload_image(connection, pool, name, path) is True
    assert upload_image(connection, pool, name, path) is False
    assert read_volume(connection, find_volume(pool, name)) == path.read_bytes()


def test_uploads_at_the_same_time_are_one(image: str, connection: Any) -> None:
    pool = ensure_pool(connection, image_pool())
    name = volume_name(image)
    assert name is not None
    path = image_paths(image).disk
    with ThreadPoolExecutor(5) as threads:
        done = list(threads.map(lambda _: upload_image(connection, pool, name, path), range(5)))
    assert sorted(done) == [False] * 4 + [True]
    assert read_volume(connection, find_volume(pool, name)) == path.read_bytes()


def test_holes_stay_holes(image: str, connection: Any, tmp_path: Path) -> None:
    path = tmp_path / "sparse.qcow2"
    path.write_bytes(tiny_disk(tmp_path / "small.qcow2").read_bytes())
    with path.open("r+b") as file:
        file.seek(40 * 1024 * 1024)
        file.write(b"far away")
        file.truncate(64 * 1024 * 1024)
    pool = ensure_pool(connection, image_pool())
    name = volume_name(image)
    assert name is not None
    assert upload_image(connection, pool, name, path) is True
    stored = Path(find_volume(pool, name).path())
    assert stored.read_bytes() == path.read_bytes()
    assert stored.stat().st_blocks * 512 < 4 * 1024 * 1024


def test_a_new_version_replaces_the_old_one_that_nothing_stands_on(
    driver: QemuDriver, spec: MachineSpec, tmp_path: Path, connection: Any
) -> None:
    def versions() -> set[str]:
        pool = find_pool(connection, image_pool())
        return {name for name in volume_names(pool) if name.startswith(spec.image)}

    def new_version(megabytes: int) -> str:
        import_image(tiny_disk(tmp_path / f"{megabytes}.qcow2", megabytes * 1024 * 1024), spec.image)
        assert driver.prepare_image(spec.image) is True
        return volume_name(spec.image) or ""

    driver.prepare_image(spec.image)
    first = volume_name(spec.image)
    driver.create(spec)
    second = new_version(2)
    assert versions() == {first, second}
    # A machine keeps the version it was made from, and that is no difference to the file.
    assert _settings(driver, spec) == wanted_settings("qemu", spec)
    third = new_version(3)
    assert versions() == {first, third}
    driver.remove(spec.lab, "h1", spec.domain)
    fourth = new_version(4)
    assert versions() == {fourth}
    delete_volume(find_pool(connection, image_pool()), fourth)


def test_the_probe_knows_a_machine_that_works(connection: Any) -> None:
    # The same guest on QEMU's own emulation: what the probe says of KVM is not said of the guest.
    assert probe(connection, virt="qemu") == KvmVerdict(True, "a guest ran 64-bit code")
    assert probe(connection, virt="qemu", deadline=0.0).why == "a guest made no progress in 0 s"
    left = [domain.name() for domain in connection.listAllDomains() if "labrun-probe" in domain.name()]
    assert left == []
    assert not [name for name in volume_names(find_pool(connection, image_pool())) if "probe" in name]


@pytest.mark.full
def test_the_verdict_on_kvm_is_kept(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[Any] = []

    def counted(*words: Any, **settings: Any) -> KvmVerdict:
        probed.append(words)
        return probe(*words, **settings)

    monkeypatch.setattr(kvm_probe, "probe", counted)
    first = kvm_verdict(connection, URI)
    assert first.why
    often = len(probed)
    assert kvm_verdict(connection, URI) == first
    # The next process reads it from the cache.
    kvm_probe._known.clear()
    assert kvm_verdict(connection, URI) == first
    assert len(probed) == often
    assert kvm_verdict(connection, URI, refresh=True).usable == first.usable
    # Where libvirt offers no KVM there is nothing to probe.
    assert often == (0 if first.why == "libvirt offers no KVM here" else 1)
    assert len(probed) == 2 * often


def test_explain_names_every_step(driver: QemuDriver, spec: MachineSpec) -> None:
    said = driver.explain(replace(spec, disks=(3,)))
    assert [line.split()[3] for line in said if line.startswith("virsh")] == [
        "pool-create-as",
        "vol-create-as",
        "vol-create-as",
        "vol-create-as",
        "vol-upload",
        "define",
        "start",
    ]
