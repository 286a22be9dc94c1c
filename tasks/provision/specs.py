"""Turn the lab model into the drivers' input: plain machine specs, one per host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from zlib import crc32

from labrun.errors import LabrunError
from labrun.inventory.model import Host, Interface, Lab, Mode
from labrun.inventory.topology.vlans import is_on_vlan
from labrun.key_pairs import HostKey
from labrun.tasks.provision.cloudinit import seed_for
from labrun.tasks.provision.driver import MachineSpec, NicSpec, Seed, tap_name
from labrun.tasks.provision.image_store import image_paths, manifest_of
from labrun.tasks.provision.lab_images import stored_name

__all__ = ["machine_spec", "seeded"]


def machine_spec(lab: Lab, host: Host) -> MachineSpec:
    """Return the spec of a host that labrun creates, its seed still empty.

    Raises LabrunError for an existing machine.
    """
    machine = host.machine
    if machine is None:
        raise LabrunError("an existing machine is never provisioned", host=host.name)
    return MachineSpec(
        lab=lab.name,
        host=host.name,
        domain=lab.libvirt_name(host.name),
        image=stored_name(lab, machine.image),
        memory=machine.memory,
        vcpus=machine.vcpus or 1,
        disk=machine.disk,
        nics=tuple(_nic(lab, nic) for nic in host.interfaces if not is_on_vlan(lab, nic)),
        seed=Seed("", "", ""),
        user=host.user,
        disks=tuple(disk.size for disk in machine.disks),
        firmware=machine.firmware,
        autostart=machine.autostart,
        digest=lab.digest,
        every_processor=machine.vcpus is None,
        first_processor=_first_processor(lab, host),
    )


def _first_processor(lab: Lab, host: Host) -> int:
    """Return the processor that follows those of the hosts before this one in the lab file.

    So one lab's containers are spread evenly, and each keeps its own as long as those before it do. Labs do
    not know of each other: their names have them begin at different ones.
    """
    earlier = takewhile(lambda each: each.name != host.name, lab.hosts.values())
    machines = (each.machine for each in earlier)
    taken = sum(each.vcpus or 0 for each in machines if each is not None and each.driver != "qemu")
    return crc32(lab.name.encode()) + taken


def _nic(lab: Lab, nic: Interface) -> NicSpec:
    network = lab.networks[nic.network]
    found = lab.filters.get(nic.filter or "")
    by_libvirt = found is not None and not found.needs_nftables
    return NicSpec(
        nic.mac,
        lab.libvirt_name(nic.network),
        network.mtu,
        lab.libvirt_name(found.name) if found is not None and by_libvirt else "",
        # A macvtap's name is libvirt's.
        "" if network.mode is Mode.MACVTAP else tap_name(nic.mac),
        nic.model or "",
    )


def _is_lean(image: str) -> bool:
    """Tell whether an image is labrun's own, or not known here: only others' are known to do too much."""
    manifest = manifest_of(image_paths(image))
    return not manifest or "recipe" in manifest


def seeded(
    spec: MachineSpec,
    lab: Lab,
    *,
    instance: str,
    host_key: HostKey,
    login_keys: Sequence[str],
    password: str,
) -> MachineSpec:
    """Return the spec with the cloud-init data of a machine that is about to be created."""
    seed = seed_for(
        lab,
        lab.hosts[spec.host],
        instance=instance,
        host_key=host_key,
        login_keys=login_keys,
        password=password,
        is_lean=_is_lean(spec.image),
    )
    return replace(spec, seed=seed)
