"""The commands that create and change a VM by hand."""

from __future__ import annotations

from pathlib import PurePosixPath

from labrun.hypervisor import connect, translated
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.image_volume import volume_name
from labrun.tasks.provision.machine_commands import (
    autostart_commands,
    memory_commands,
    nic_commands,
    run_commands,
)
from labrun.tasks.provision.machine_disks import disk_commands
from labrun.tasks.provision.objects import Observed
from labrun.tasks.provision.qemu_xml import MachineFiles, domain_xml, machine_nic_xml
from labrun.tasks.provision.volumes import image_pool, lab_pool

__all__ = ["change_commands", "creation_commands"]


def creation_commands(uri: str, base: PurePosixPath, spec: MachineSpec, *, is_kvm: bool) -> list[str]:
    """Return the commands that create the same VM by hand."""
    files = MachineFiles(str(lab_pool(spec.lab, base).directory), spec.host)
    volume = volume_name(spec.image) or f"{spec.image}.qcow2"
    backing = f"{image_pool(base).directory}/{volume}"
    virsh = f"virsh -c {uri}"
    pool = lab_pool(spec.lab, base)
    xml = domain_xml(spec, files, virt="kvm" if is_kvm else "qemu", image_volume=volume)
    overlay = f"{virsh} vol-create-as {pool.name} {files.disk} {spec.disk}G --format qcow2"
    further = [
        f"{virsh} vol-create-as {pool.name} {files.further(number)} {size}G --format qcow2"
        for number, size in enumerate(spec.disks, start=1)
    ]
    return [
        f"{virsh} pool-create-as {pool.name} dir --target {pool.directory} --build",
        f"{overlay} --backing-vol {backing} --backing-vol-format qcow2",
        *further,
        "xorriso -as mkisofs -V cidata -J -R -o seed.iso meta-data user-data network-config",
        f"{virsh} vol-create-as {pool.name} {files.seed} 1M --format raw",
        f"{virsh} vol-upload --pool {pool.name} {files.seed} seed.iso",
        f"{virsh} define /dev/stdin <<'XML'\n{xml}XML",
        f"{virsh} start {spec.domain}",
    ]


def change_commands(
    uri: str, base: PurePosixPath, spec: MachineSpec, seen: Observed, changes: tuple[str, ...]
) -> list[str]:
    """Return the commands that change the VM by hand, and start it if it is off."""
    import libvirt

    virsh, changed, name = f"virsh -c {uri}", set(changes), seen.full_name
    pool = lab_pool(spec.lab, base)
    files = MachineFiles(str(pool.directory), spec.host)
    lines = []
    with translated("explain", spec.host):
        domain = connect(uri).lookupByName(name)
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        is_on = bool(domain.isActive())
        if "persistent" in changed:
            lines.append(f"{virsh} dumpxml {name} --inactive --security-info | {virsh} define /dev/stdin")
        if "disk" in changed or "disks" in changed:
            lines += disk_commands(virsh, pool.name, files, spec, seen.have, is_on=is_on)
        if "nics" in changed:
            lines += nic_commands(uri, domain, xml, spec.nics, machine_nic_xml)
    lines += memory_commands(virsh, spec) if "memory" in changed else []
    if "vcpus" in changed:
        lines += [f"{virsh} setvcpus {name} {spec.vcpus} --maximum --config"]
        lines += [f"{virsh} setvcpus {name} {spec.vcpus} --config"]
    lines += autostart_commands(virsh, spec) if "autostart" in changed else []
    if seen.state != "running":
        lines += run_commands(virsh, name, seen.state, [f"{virsh} start {name}"])
    return lines
