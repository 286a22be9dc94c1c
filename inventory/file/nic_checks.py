"""Check NICs against the lab: what they are to be, and the machines and networks that cannot have it."""

from __future__ import annotations

from labrun.inventory.file.problems import Path, Report
from labrun.inventory.model import Host, Lab

__all__ = ["check_nics"]


def check_nics(lab: Lab, report: Report) -> None:
    """Report what no NIC of that machine could be; what only the chosen driver shows is left to the plan."""
    for host in lab.hosts.values():
        for nic in host.interfaces if host.machine is not None else ():
            path: Path = ("hosts", host.name, "networks", nic.network)
            if nic.model is not None and _is_container(lab, host):
                what = f"{host.name} is a container, whose NICs have no model"
                report.add((*path, "model"), what, "remove it, or driver: qemu")


def _is_container(lab: Lab, host: Host) -> bool:
    """Tell whether the file alone says so."""
    driver = host.machine.driver if host.machine is not None else None
    return driver == "lxc" or (driver is None and lab.hypervisor.startswith("lxc:"))
