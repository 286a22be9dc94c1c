"""The libvirt XML of a VM, and the names of its volumes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from markupsafe import Markup

from labrun.inventory.recipes import STORED_RECIPES
from labrun.ownership import tag_element
from labrun.rendering import render_xml
from labrun.tasks.provision.agent import CHANNEL
from labrun.tasks.provision.domains import nic_xml
from labrun.tasks.provision.driver import MachineSpec, NicSpec
from labrun.tasks.provision.machines import machine_tag

__all__ = ["MachineFiles", "disk_xml", "domain_xml", "host_of_volume", "machine_nic_xml"]

_FOR_ANY_CPU = frozenset(STORED_RECIPES)
"""Images that run on the first x86-64 CPUs: emulated without newer instructions, they boot sooner.

Others may be built for x86-64-v2 or later, such as Enterprise Linux 9, and do not boot without it.
"""
# QEMU's default is up to 1 GiB per guest; the boot code of a Linux guest fits in this.
_TRANSLATION_CACHE_MIB = 256
# On q35 each device takes one port: system disk, seed, serial controller, random numbers.
_FIXED_DEVICES = 4
# A running machine cannot get more ports: these are for NICs and disks added later.
_SPARE_PORTS = 4
_VOLUME = re.compile(
    r"(?P<host>[a-z0-9-]+?)(?:\.qcow2|-seed\.iso|\.disk[0-9]+\.qcow2|-console\.log(?:\.[0-9]+)?)"
)
_FIRST_EXTRA = ord("c")  # vda is the system disk, vdb the seed


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """The volumes of one machine, by name in the lab's pool; ``directory`` is the pool's path."""

    directory: str
    host: str

    @property
    def disk(self) -> str:
        """Return the name of the overlay on the image."""
        return f"{self.host}.qcow2"

    @property
    def seed(self) -> str:
        """Return the name of the cloud-init ISO."""
        return f"{self.host}-seed.iso"

    @property
    def console(self) -> str:
        """Return the name of the serial console's log."""
        return f"{self.host}-console.log"

    def further(self, number: int) -> str:
        """Return the name of an extra disk; ``number`` counts from 1."""
        # Host names contain no dot, so this cannot collide with another host's disk.
        return f"{self.host}.disk{number}.qcow2"

    def owns(self, volume: str) -> bool:
        """Tell whether a volume belongs to this machine by its name, rotated console logs included."""
        return volume in (self.disk, self.seed) or volume.startswith((f"{self.host}.disk", self.console))

    def path(self, name: str) -> str:
        """Return a volume's path on the hypervisor."""
        return f"{self.directory}/{name}"


def host_of_volume(volume: str) -> str:
    """Return the host whose volume this is by its name, empty if no machine has volumes of such names."""
    match = _VOLUME.fullmatch(volume)
    return match["host"] if match else ""


def domain_xml(
    spec: MachineSpec, files: MachineFiles, *, virt: str, image_volume: str, uuid: str | None = None
) -> str:
    """Return the XML of a VM; ``virt`` is ``kvm`` or ``qemu``.

    It contains only devices that a server guest uses: every device costs firmware and kernel time at each
    boot, and a network card's boot ROM costs the most.
    """
    return render_xml(
        "libvirt/qemu-domain.xml.j2",
        virt=virt,
        name=spec.domain,
        uuid=uuid,
        tag=tag_element(machine_tag("qemu", spec, **{"image-volume": image_volume})),
        memory=spec.memory,
        vcpus=spec.vcpus,
        firmware=spec.firmware,
        translation_cache=_TRANSLATION_CACHE_MIB,
        newest_cpu=spec.image not in _FOR_ANY_CPU,
        disk=files.path(files.disk),
        seed=files.path(files.seed),
        root_ports=_FIXED_DEVICES + len(spec.disks) + len(spec.nics) + _SPARE_PORTS,
        extra_disks=[
            Markup(disk_xml(files, number)).strip()  # noqa: S704 - rendered and escaped by disk_xml
            for number in range(1, len(spec.disks) + 1)
        ],
        nics=[Markup(machine_nic_xml(nic)) for nic in spec.nics],  # noqa: S704 - from ElementTree
        console_log=files.path(files.console),
        agent_channel=CHANNEL,
    )


def machine_nic_xml(nic: NicSpec) -> str:
    """Return the ``<interface>`` of a VM: virtio unless it is to be another model, without a boot ROM."""
    element = ET.fromstring(nic_xml(nic, nic.model or "virtio"))  # noqa: S314 - rendered by us
    ET.SubElement(element, "rom", {"enabled": "no"})
    return ET.tostring(element, encoding="unicode")


def disk_xml(files: MachineFiles, number: int) -> str:
    """Return the ``<disk>`` of the machine's extra disk ``number``, counting from 1."""
    element = ET.Element("disk", {"type": "file", "device": "disk"})
    ET.SubElement(element, "driver", {"name": "qemu", "type": "qcow2", "discard": "unmap"})
    ET.SubElement(element, "source", {"file": files.path(files.further(number))})
    ET.SubElement(element, "target", {"dev": f"vd{chr(_FIRST_EXTRA + number - 1)}", "bus": "virtio"})
    ET.SubElement(element, "serial").text = f"disk{number}"
    return ET.tostring(element, encoding="unicode")
