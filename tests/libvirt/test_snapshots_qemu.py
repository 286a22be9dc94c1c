"""VMs in snapshots on a real libvirtd: disks, UEFI variables and memory of one whose processor never runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest

from labrun.errors import HypervisorError
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.qemu import QemuDriver
from labrun.tasks.snapshots.keeper import MachineFolder
from labrun.tasks.snapshots.vms import VmKeeper, disk_files
from tests.libvirt.test_qemu_driver import URI, connection, driver, image, own_store, spec

__all__ = ["connection", "driver", "image", "own_store", "spec"]


def folder(spec: MachineSpec, path: Path, state: str) -> MachineFolder:
    return MachineFolder("qemu", URI, spec.lab, spec.host, spec.domain, state, path)


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_paused_vm_is_paused_again_with_its_files(
    driver: QemuDriver, spec: MachineSpec, connection: Any, tmp_path: Path, firmware: Any
) -> None:
    spec = replace(spec, firmware=firmware, disks=(1,), autostart=True)
    driver.prepare_image(spec.image)
    driver.create(spec)
    domain = connection.lookupByName(spec.domain)
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    machine, keeper = folder(spec, tmp_path / "h1", "paused"), VmKeeper()
    kept = keeper.save(machine)
    assert kept.memory > 0
    assert domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    files = [Path(path) for path in disk_files(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))]
    nvram = sorted(Path("/var/lib/libvirt/qemu/nvram").glob(f"{spec.domain}_VARS.*"))
    assert bool(nvram) == (firmware == "uefi")
    before = {path: path.read_bytes() for path in [*files, *nvram]}
    assert len(files) == 3
    domain.destroy()
    for path in before:
        path.write_bytes(b"lost")
    keeper.stage(machine)
    assert all(path.read_bytes() == b"lost" for path in before), "in use until all is there"
    assert keeper.put_back(machine) == "paused"
    again = connection.lookupByName(spec.domain)
    assert again.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    assert (again.isPersistent(), again.autostart(), again.UUIDString()) == (1, 1, domain.UUIDString())
    assert {path: path.read_bytes() for path in before} == before
    # The same twice, and of one that is gone altogether.
    driver.remove(spec.lab, spec.host, spec.domain)
    keeper.stage(machine)
    assert keeper.put_back(machine) == "paused"
    assert {path: path.read_bytes() for path in before} == before
    assert not list(files[0].parent.glob("*staged*"))


def test_one_that_is_off_is_kept_without_memory(
    driver: QemuDriver, spec: MachineSpec, connection: Any, tmp_path: Path
) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    machine, keeper = folder(spec, tmp_path / "h1", "shut off"), VmKeeper()
    assert keeper.save(machine).memory == 0
    keeper.stage(machine)
    assert keeper.put_back(machine) == "shut off"
    assert not connection.lookupByName(spec.domain).isActive()


def test_an_image_that_is_gone_is_named_before_anything_is_replaced(
    driver: QemuDriver, spec: MachineSpec, tmp_path: Path
) -> None:
    driver.prepare_image(spec.image)
    driver.create(spec)
    machine, keeper = folder(spec, tmp_path / "h1", "shut off"), VmKeeper()
    keeper.save(machine)
    with pytest.raises(HypervisorError, match=r"the image that its disk stands on is gone: .*/none.qcow2"):
        keeper.stage(replace(machine, base="none.qcow2"))
