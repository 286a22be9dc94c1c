"""The hypervisor of a lab: the one that the file names, the one that has the lab, else the best available."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, networks_of
from labrun.hypervisor_uri import VARIABLE, asked_hypervisor, is_plain
from labrun.inventory.model import Lab
from labrun.ownership import read_tag
from labrun.tasks.provision.domains import tagged_domains

__all__ = ["LOCAL_URIS", "Choice", "choose_hypervisor", "lab_uris", "labs_on"]

_LXC, _QEMU = "lxc:///system", "qemu:///system"
LOCAL_URIS = (_LXC, _QEMU)
"""The possible URIs of a lab with ``hypervisor: auto``."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A libvirt URI and, for the user, the reason for choosing it."""

    uri: str
    why: str


def lab_uris(name: str, uris: Sequence[str] = LOCAL_URIS) -> tuple[str, ...]:
    """Return which of ``uris`` carry the tag of the lab ``name``, the one recorded for the lab first.

    Raises HypervisorError if none of them can be asked.
    """
    carrying: list[str] = []
    errors: list[HypervisorError] = []
    for uri in uris:
        try:
            connection = connect(uri)
        except HypervisorError as error:
            errors.append(error)
            continue
        for network, xml in networks_of(connection):
            tag = read_tag(xml)
            if tag is None or tag.lab != name or not tag.fits(network.name()):
                continue
            if tag.extra.get("hypervisor"):
                # A tag is untrusted data; if its URI is not acceptable, use the one where it was found.
                named = tag.extra["hypervisor"]
                carrying.insert(0, named if is_plain(named) else uri)
        if any(tag.fits(domain.name()) for domain, tag, _ in tagged_domains(connection, name)):
            carrying.append(uri)
    if len(errors) == len(uris):
        raise errors[-1]
    return tuple(dict.fromkeys(carrying))


def labs_on(uris: Sequence[str] = LOCAL_URIS) -> tuple[str, ...]:
    """Return the names of all labs that have a machine or a network there; a URI that is silent has none."""
    labs: list[str] = []
    for uri in uris:
        try:
            connection = connect(uri)
        except HypervisorError:
            continue
        labs += [tag.lab for _, tag, _ in tagged_domains(connection)]
        labs += [tag.lab for _, xml in networks_of(connection) if (tag := read_tag(xml)) is not None]
    return tuple(dict.fromkeys(labs))


def choose_hypervisor(lab: Lab) -> Choice:
    """Return the hypervisor of the lab, existing or new. Raises HypervisorError if none can carry it.

    ``LABRUN_HYPERVISOR`` takes precedence over the file. ``hypervisor: auto`` stays where the lab's tag is
    found; a new lab gets qemu if KVM really works, else containers if labrun is root, else qemu without
    KVM.
    """
    if asked := asked_hypervisor():
        return Choice(asked, f"set by {VARIABLE}")
    if lab.hypervisor != "auto":
        return Choice(lab.hypervisor, "set in the lab file")
    if existing := lab_uris(lab.name):
        return Choice(existing[0], "the lab is already there")
    return _probe()


def _probe() -> Choice:
    reasons: list[str] = []
    try:
        qemu = connect(_QEMU)
    except HypervisorError as error:
        reasons.append(error.reason)
        has_qemu = False
    else:
        from labrun.tasks.provision.kvm_probe import kvm_verdict

        has_qemu = True
        kvm = kvm_verdict(qemu, _QEMU)
        if kvm.usable:
            return Choice(_QEMU, "KVM works here")
        reasons.append(f"KVM does not work here: {kvm.why}")
    if os.geteuid() == 0:
        try:
            connect(_LXC)
        except HypervisorError as error:
            reasons.append(error.reason)
        else:
            return Choice(_LXC, f"{reasons[-1]}; containers need none")
    else:
        reasons.append("containers need root")
    if has_qemu:
        return Choice(_QEMU, "; ".join(reasons) + "; so VMs run without KVM, slowly")
    raise HypervisorError(
        "cannot use libvirt: " + "; ".join(reasons),
        step="hypervisor",
        hint="sudo labrun for containers, or libvirt-daemon-driver-qemu for VMs",
    )
