"""VMs in a snapshot: their disks, UEFI variables and definition, and the memory of those that run."""

from __future__ import annotations

import contextlib
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, translated
from labrun.tasks.provision.domains import find_domain, require
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.saved_state import is_saved, moved
from labrun.tasks.provision.volumes import ensure_pool, image_pool, lab_pool, refresh
from labrun.tasks.snapshots.containers import DEFINITION, save_definition
from labrun.tasks.snapshots.keeper import Kept, MachineFolder
from labrun.tasks.snapshots.places import place_of

__all__ = ["MEMORY", "VmKeeper", "disk_files", "memory_snapshot"]

MEMORY = "memory"
NVRAM = "nvram"
NVRAM_PATH = "nvram.path"
_NVRAMS = Path("/var/lib/libvirt/qemu/nvram")
"""Where libvirt puts the variables of a VM for which it has chosen the firmware."""
_CLOCK_SECONDS = 5


class VmKeeper:
    """Save and restore VMs; see the Keeper protocol for the methods.

    A running one goes on after a restore where it was when it was saved.
    """

    def save(self, machine: MachineFolder) -> Kept:
        """Save the memory of a VM that was running, then copy its disks, which do not change any more."""
        place = place_of(machine.uri)
        place.make_folder(machine.folder)
        xml = save_definition(machine)
        _refuse_saved(machine)
        memory = _save_memory(machine, xml) if machine.state in ("running", "paused") else 0
        size = sum(
            place.copy(path, str(machine.folder / f"disk{number}"))
            for number, path in enumerate(disk_files(xml))
        )
        if (nvram := _nvram(machine)) is not None:
            size += place.copy(str(nvram), str(machine.folder / NVRAM))
            place.write(machine.folder / NVRAM_PATH, str(nvram))
        return Kept(size, memory)

    def stage(self, machine: MachineFolder) -> None:
        """Copy the disks beside those in use, under names of the machine's own."""
        image, place = Path(image_pool().directory / machine.base), place_of(machine.uri)
        if machine.base and not place.exists(image):
            raise HypervisorError(
                f"the image that its disk stands on is gone: {image}", host=machine.host, step="snapshot"
            )
        with translated("storage", machine.host):
            ensure_pool(connect(machine.uri), lab_pool(machine.lab))
        self.unstage(machine)
        for number, path in enumerate(_kept_disks(machine)):
            place.copy(str(machine.folder / f"disk{number}"), _staged(machine, number, path))

    def put_back(self, machine: MachineFolder) -> str:
        """End the VM, put its files in place, define it, and let it go on, or wait, where it was."""
        place = place_of(machine.uri)
        xml = place.read(machine.folder / DEFINITION)
        connection = connect(machine.uri)
        driver_for(machine.kind, machine.uri).retire(machine.lab, machine.domain)
        for number, path in enumerate(_kept_disks(machine)):
            place.move(_staged(machine, number, path), path)
        if place.exists(machine.folder / NVRAM):
            nvram = Path(place.read(machine.folder / NVRAM_PATH))
            place.remove(nvram)
            place.copy(str(machine.folder / NVRAM), str(nvram))
        starts_itself = place.exists(machine.folder / "autostart")
        with translated("define", machine.host):
            refresh(ensure_pool(connection, lab_pool(machine.lab)))
            domain = connection.defineXML(xml)
            domain.setAutostart(int(starts_itself))
        memory = machine.folder / MEMORY
        if not place.exists(memory):
            return "shut off"
        self._go_on(machine, connection, memory, xml)
        return machine.state

    def _go_on(self, machine: MachineFolder, connection: Any, memory: Path, xml: str) -> None:
        import libvirt

        try:
            saved = connection.saveImageGetXMLDesc(str(memory), libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
            networks = {network.name() for network in connection.listAllNetworks() if network.isActive()}
            paused = machine.state == "paused"
            flag = libvirt.VIR_DOMAIN_SAVE_PAUSED if paused else libvirt.VIR_DOMAIN_SAVE_RUNNING
            connection.restoreFlags(str(memory), moved(saved, xml, networks), flag)
        except libvirt.libvirtError as error:
            raise HypervisorError(
                f"its disks are back, but it cannot go on from its memory: {error.get_error_message()}",
                host=machine.host,
                step="snapshot",
                hint=f"`labrun start --hosts {machine.host}` boots it",
            ) from error
        if paused:
            return
        domain = connection.lookupByName(machine.domain)
        # Its clock stood still. A guest without an agent has to find the time by itself.
        with contextlib.suppress(libvirt.libvirtError):
            domain.agentSetResponseTimeout(_CLOCK_SECONDS)
            domain.setTime({"seconds": int(time.time()), "nseconds": 0})

    def unstage(self, machine: MachineFolder) -> None:
        """Remove disks that were not put back."""
        for number, path in enumerate(_kept_disks(machine)):
            place_of(machine.uri).remove(Path(_staged(machine, number, path)))


def disk_files(xml: str) -> tuple[str, ...]:
    """Return the files of a VM's disks, its seed among them, in the order of its definition."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    sources = (disk.find("source") for disk in root.iterfind("./devices/disk"))
    return tuple(source.get("file", "") for source in sources if source is not None and source.get("file"))


def memory_snapshot(xml: str, file: str) -> str:
    """Return the XML of a libvirt snapshot of the memory alone, into ``file``."""
    snapshot = ET.Element("domainsnapshot")
    ET.SubElement(snapshot, "memory", {"snapshot": "external", "file": file})
    disks = ET.SubElement(snapshot, "disks")
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    for target in root.iterfind("./devices/disk/target"):
        ET.SubElement(disks, "disk", {"name": target.get("dev", ""), "snapshot": "no"})
    return ET.tostring(snapshot, encoding="unicode")


def _save_memory(machine: MachineFolder, xml: str) -> int:
    import libvirt

    file = machine.folder / MEMORY
    flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
    with translated("memory", machine.host):
        domain = require(find_domain(connect(machine.uri), machine.domain, machine.lab), machine.domain)
        domain.snapshotCreateXML(memory_snapshot(xml, str(file)), flags)
    return place_of(machine.uri).size(file)


def _refuse_saved(machine: MachineFolder) -> None:
    with translated("snapshot", machine.host):
        domain = require(find_domain(connect(machine.uri), machine.domain, machine.lab), machine.domain)
        if is_saved(domain):
            raise HypervisorError(
                "its memory is in a saved state (`virsh managedsave`), which a snapshot cannot take",
                host=machine.host,
                step="snapshot",
                hint=f"`labrun start --hosts {machine.host}` lets it go on",
            )


def _nvram(machine: MachineFolder) -> Path | None:
    """Return the file of a VM's UEFI variables, None if it has none.

    libvirt names it in the XML of a running VM alone.
    """
    with translated("snapshot", machine.host):
        domain = require(find_domain(connect(machine.uri), machine.domain, machine.lab), machine.domain)
        element = ET.fromstring(domain.XMLDesc(0)).find("./os/nvram")  # noqa: S314 - libvirt's own output
    if element is not None and element.text:
        return Path(element.text.strip())
    return next(iter(place_of(machine.uri).matching(_NVRAMS, f"{machine.domain}_VARS.*")), None)


def _kept_disks(machine: MachineFolder) -> tuple[str, ...]:
    return disk_files(place_of(machine.uri).read(machine.folder / DEFINITION))


def _staged(machine: MachineFolder, number: int, path: str) -> str:
    # A name of the machine's own, by MachineFiles.owns: what a killed run leaves goes with the machine.
    return str(Path(path).with_name(f"{machine.host}.disk.staged{number}"))
