"""Check what hosts are to be made of against what their machines can have, as far as the file alone shows."""

from __future__ import annotations

from collections.abc import Mapping

from labrun.inventory.file.merging import Merged
from labrun.inventory.file.problems import Report
from labrun.inventory.model import Host, Lab

__all__ = ["check_machines", "is_container"]


def check_machines(lab: Lab, merged: Mapping[str, Merged], report: Report) -> None:
    """Report what no container can have; what only the chosen driver shows is left to the plan."""
    for host in lab.hosts.values():
        machine = host.machine
        if machine is None or not is_container(lab, host):
            continue
        if machine.disks:
            what = f"{host.name} is a container, which has no disks of its own"
            report.add(merged[host.name].place(report, "disks"), what, "`disks: []`, or driver: qemu")
        if machine.firmware != "bios":
            what = f"{host.name} is a container, which has no firmware"
            report.add(merged[host.name].place(report, "firmware"), what, "`firmware: bios`, or driver: qemu")


def is_container(lab: Lab, host: Host) -> bool:
    """Tell whether the file alone says so."""
    driver = host.machine.driver if host.machine is not None else None
    where = lab.hypervisors.get(host.hypervisor or "")
    uri = where.uri if where is not None else lab.hypervisor
    return driver == "lxc" or (driver is None and uri.startswith("lxc:"))
