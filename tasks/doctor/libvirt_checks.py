"""Checks of libvirt itself, of the user's rights, and of KVM."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Final

from labrun.libvirt_package import how_to_install
from labrun.outcome import Status
from labrun.tasks.doctor.model import Facts, Finding, LibvirtSide

__all__ = ["OLDEST", "check_kvm", "check_libvirt", "check_python", "check_rights"]

OLDEST: Final = (9, 0, 0)
"""The oldest libvirt that labrun is tried with."""
_NOISE = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]{1,20}Z:? |(?:internal error|process exited while connecting to monitor"
    r"|qemu unexpectedly closed the monitor|error|qemu-[\w-]{1,30}): "
)


def check_libvirt(facts: Facts) -> Iterator[Finding]:
    """Judge whether libvirt answers and is new enough; without libvirt-python nothing was asked."""
    if not facts.python_libvirt:
        return
    answering = [side for side in facts.libvirt if not side.error]
    silent = [side for side in facts.libvirt if side.error]
    # With `auto` one driver is enough, and a user who is not root has no containers anyway.
    is_choice = len(facts.libvirt) > 1
    for side in silent:
        if is_choice and answering:
            mode = "containers" if side.uri.startswith("lxc") else "VMs"
            yield Finding(
                "libvirt", Status.WARNING, side.error, f"no {mode} here", side.hint, hypervisor_fault=True
            )
        else:
            matters = "without libvirt labrun can make no machine and no network"
            yield Finding("libvirt", Status.FAILED, side.error, matters, side.hint, hypervisor_fault=True)
    if answering:
        yield _version(answering, facts)


def _version(answering: list[LibvirtSide], facts: Facts) -> Finding:
    version = min(side.library or OLDEST for side in answering)
    uris = " and ".join(side.uri for side in answering)
    what = f"libvirt {_text(version)}, {uris} {'answer' if len(answering) > 1 else 'answers'}"
    if version >= OLDEST:
        return Finding("libvirt", Status.OK, what)
    return Finding(
        "libvirt",
        Status.WARNING,
        f"{what}; labrun is tried with {_text(OLDEST)} and newer",
        "settings of networks and machines may be refused or lost",
        _newer(facts, "libvirt-daemon-system", "libvirt"),
    )


def _newer(facts: Facts, debian: str, redhat: str) -> str:
    if "apt-get" in facts.programs:
        return f"sudo apt-get update && sudo apt-get install {debian}"
    return f"sudo dnf upgrade {redhat}"


def _text(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


def check_python(facts: Facts) -> Iterator[Finding]:
    """Judge whether this Python has what labrun calls libvirt with."""
    running = f"Python {sys.version_info.major}.{sys.version_info.minor} ({sys.executable})"
    if facts.python_libvirt:
        yield Finding("python", Status.OK, f"{running} has libvirt-python {facts.python_libvirt}")
        return
    does_without = facts.lab is not None and not facts.lab.needs_hypervisor
    yield Finding(
        "python",
        Status.WARNING if does_without else Status.FAILED,
        f"{running} has no libvirt-python",
        "labrun needs it to reach libvirt; labs of existing machines do without",
        how_to_install(),
        hypervisor_fault=not does_without,
    )


def check_rights(facts: Facts) -> Iterator[Finding]:
    """Judge whether this user may do what the lab needs."""
    user = facts.user
    if user.is_root:
        yield Finding("rights", Status.OK, f"{user.name} may use containers and VMs")
        return
    needs_root = bool(facts.containers) or facts.uri.startswith("lxc")
    if needs_root:
        yield Finding(
            "rights",
            Status.FAILED,
            f"{user.name} is not root, and containers need root",
            "their root directories are mounted on this machine",
            "sudo labrun doctor, and every other command with sudo",
        )
    elif user.session_is_in:
        yield Finding(
            "rights",
            Status.WARNING if facts.lab is None else Status.OK,
            f"{user.name} is in the group {user.group}: VMs, and no containers",
            "containers need root",
            "sudo labrun",
        )
    elif user.account_is_in:
        yield Finding(
            "rights",
            Status.FAILED,
            f"{user.name} is in the group {user.group}, but was not at this login",
            "libvirt lets in root and the members of that group",
            f"newgrp {user.group}",
        )
    else:
        yield Finding(
            "rights",
            Status.FAILED,
            f"{user.name} is not in the group {user.group}",
            "libvirt lets in root and the members of that group",
            f"sudo usermod -aG {user.group} {user.name}, then log in again",
        )


def check_kvm(facts: Facts) -> Iterator[Finding]:
    """Judge whether KVM really runs guests: the device alone says little."""
    verdict = facts.kvm.verdict
    if verdict is None:
        yield Finding("kvm", Status.SKIPPED, "not tried: qemu:///system does not answer")
        return
    if verdict.usable:
        yield Finding("kvm", Status.OK, f"KVM works: {verdict.why}")
        return
    used = "containers are used, VMs are emulated" if facts.user.is_root else "VMs are emulated"
    if facts.vms:
        used = f"{', '.join(facts.vms)} will be emulated"
    yield Finding(
        "kvm",
        Status.WARNING,
        f"KVM does not work here: {_in_short(verdict.why)}; {used}",
        "an emulated VM takes 40 s or more until it can be logged in to, and a whole processor meanwhile",
        _kvm_remedy(facts) if facts.is_here else "run `labrun doctor` on that machine",
    )


def _in_short(why: str) -> str:
    """Return QEMU's complaint without what it and libvirt put in front of each line."""
    # What follows is where in its source QEMU ended.
    return re.split(r" ?\.\./| qemu-[\w-]{1,30}$", _NOISE.sub("", " ".join(why.split())))[0].rstrip(" .:;")


def _kvm_remedy(facts: Facts) -> str:
    kvm = facts.kvm
    if not kvm.flag:
        return (
            "turn on virtualisation (VT-x, AMD-V) in the firmware"
            " or, for a VM, nested virtualisation on its host"
        )
    if not kvm.has_device:
        return f"sudo modprobe {'kvm_intel' if kvm.flag == 'vmx' else 'kvm_amd'}"
    if "offers no KVM" in (kvm.verdict.why if kvm.verdict else ""):
        return "sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo systemctl restart libvirtd"
    return "none here: the outer machine must offer nested virtualisation that works"
