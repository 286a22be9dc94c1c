"""All checks of `labrun doctor`, in the order in which they are shown."""

from __future__ import annotations

from labrun.outcome import Status
from labrun.tasks.doctor.firewall_checks import check_firewall
from labrun.tasks.doctor.libvirt_checks import check_kvm, check_libvirt, check_python, check_rights
from labrun.tasks.doctor.limit_checks import (
    check_clock,
    check_image_tools,
    check_inotify,
    check_keys,
    check_memory,
    check_programs,
    check_space,
)
from labrun.tasks.doctor.model import Check, Facts, Finding
from labrun.tasks.doctor.network_checks import (
    check_bridge_nf,
    check_bridges,
    check_devices,
    check_dnsmasq,
    check_forwarding,
    check_subnets,
    check_vlans,
)

__all__ = ["CHECKS", "examine"]

CHECKS: tuple[Check, ...] = (
    Check("libvirt", check_libvirt, only_here=False),
    Check("python", check_python, only_here=False),
    Check("rights", check_rights),
    Check("kvm", check_kvm, only_here=False),
    Check("subnets", check_subnets, only_here=False),
    Check("bridges", check_bridges),
    Check("devices", check_devices),
    Check("vlans", check_vlans),
    Check("firewall", check_firewall),
    Check("forwarding", check_forwarding),
    Check("bridge-nf", check_bridge_nf),
    Check("dnsmasq", check_dnsmasq),
    Check("inotify", check_inotify),
    Check("keys", check_keys),
    Check("memory", check_memory),
    Check("space", check_space),
    Check("image tools", check_image_tools),
    Check("programs", check_programs),
    Check("clock", check_clock),
)


def examine(facts: Facts) -> list[Finding]:
    """Return what every check finds; what cannot be known of another machine is skipped."""
    found: list[Finding] = []
    for check in CHECKS:
        if check.only_here and not facts.is_here:
            what = f"{check.name}: run `labrun doctor` on that machine"
            found.append(Finding(check.name, Status.SKIPPED, what))
        else:
            found += check.judge(facts)
    return found
