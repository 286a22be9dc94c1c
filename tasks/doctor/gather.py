"""Read everything that the checks judge, once."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from labrun.connection_hints import this_user
from labrun.errors import HypervisorError
from labrun.hypervisor import enter_network, is_local
from labrun.hypervisor_uri import asked_hypervisor
from labrun.inventory.model import Lab
from labrun.tasks.doctor import machine_facts
from labrun.tasks.doctor.libvirt_facts import look_at, python_libvirt, try_kvm
from labrun.tasks.doctor.model import Facts, Kvm, LibvirtSide
from labrun.tasks.provision.driver_registry import driver_of
from labrun.tasks.provision.hypervisor_choice import LOCAL_URIS
from labrun.tasks.provision.image_store import list_images
from labrun.tasks.provision.kernel_vlans import without_vlans
from labrun.tasks.provision.overlay import LABS
from labrun.tasks.provision.volumes import BASE

__all__ = ["gather"]


def gather(lab: Lab | None) -> Facts:
    """Return the facts of the lab's hypervisor, or of this machine. Move this thread into libvirtd's network.

    Nothing is changed; a guest is run to try KVM, and removed. Never raises for what it cannot read.
    """
    uris = _uris(lab)
    sides = tuple(look_at(uri, lab) for uri in uris)
    answering = [side.uri for side in sides if not side.error]
    is_here = is_local(uris[0])
    verdict = try_kvm(_qemu(uris, answering))
    kvm = Kvm(Path("/dev/kvm").exists(), machine_facts.processor_flag(), verdict)
    uri = _chosen(answering or list(uris), usable=verdict is not None and verdict.usable)
    containers, vms = _to_come(lab, uri, sides)
    if not is_here:
        return Facts(
            lab, uri, False, this_user(), sides, kvm, python_libvirt(), containers=containers, vms=vms
        )
    if answering:
        enter_network(answering[0])
    bridges = [network.bridge for side in sides for network in side.networks]
    forward, unread = machine_facts.read_forward(bridges)
    return Facts(
        lab,
        uri,
        True,
        this_user(),
        sides,
        kvm,
        python_libvirt(),
        kernel=machine_facts.kernel_values(),
        routes=machine_facts.routes(),
        bridges=machine_facts.bridges(),
        devices=machine_facts.devices(),
        forward=forward,
        forward_unread=unread,
        inotify_used=machine_facts.inotify_used(),
        keys=machine_facts.kernel_keys(),
        memory=machine_facts.memory(),
        spaces=(machine_facts.space(BASE, "VMs"), machine_facts.space(PurePosixPath(LABS), "containers")),
        programs=machine_facts.programs(),
        images=frozenset(image.name for image in list_images()),
        dns_on_every_address=machine_facts.dns_on_every_address(),
        clock=machine_facts.clock(),
        has_vlans=not without_vlans(),
        containers=containers,
        vms=vms,
    )


def _uris(lab: Lab | None) -> tuple[str, ...]:
    if asked := asked_hypervisor():
        return (asked,)
    if lab is not None and lab.hypervisor != "auto":
        return (lab.hypervisor,)
    return tuple(reversed(LOCAL_URIS))


def _qemu(uris: tuple[str, ...], answering: list[str]) -> str | None:
    """Return where KVM can be tried: a lab of containers may have VMs too."""
    named = next((uri for uri in uris if uri.startswith("qemu")), None)
    if named is not None:
        return named if named in answering else None
    return "qemu:///system" if answering and is_local(uris[0]) else None


def _chosen(uris: list[str], *, usable: bool) -> str:
    """Return where a lab with ``hypervisor: auto`` would be made."""
    wanted = "lxc" if os.geteuid() == 0 and not usable else "qemu"
    return next((uri for uri in uris if uri.startswith(wanted)), uris[0])


def _to_come(
    lab: Lab | None, uri: str, sides: tuple[LibvirtSide, ...]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the lab's containers that do not run yet, and its VMs with their MiB of memory."""
    running = frozenset().union(*(side.running for side in sides))
    containers, vms = [], {}
    for host in lab.hosts.values() if lab else ():
        if host.machine is None or host.name in running:
            continue
        try:
            kind = driver_of(host, uri)[0]
        except HypervisorError:
            continue  # a container on another machine: `plan` refuses it
        if kind == "lxc":
            containers.append(host.name)
        else:
            vms[host.name] = host.machine.memory
    return tuple(containers), vms
