"""Check NICs against the lab: what they are to be, and the machines and networks that cannot have it."""

from __future__ import annotations

from labrun.inventory.file.machine_checks import is_container
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.model import Host, Interface, Lab

__all__ = ["check_nics"]

# With these NetworkManager refuses a profile with fixed addresses of the family.
_WITHOUT = {"ipv4.method": ("disabled",), "ipv6.method": ("disabled", "ignore")}


def check_nics(lab: Lab, report: Report) -> None:
    """Report what no NIC of that machine could be; what only the chosen driver shows is left to the plan."""
    for host in lab.hosts.values():
        _check_neighbours(lab, host, report)
        for nic in host.interfaces:
            _check_methods(host, nic, report)
        for nic in host.interfaces if host.machine is not None else ():
            path: Path = ("hosts", host.name, "networks", nic.name)
            if nic.model is not None and is_container(lab, host):
                what = f"{host.name} is a container, whose NICs have no model"
                report.add((*path, "model"), what, "remove it, or driver: qemu")


def _check_neighbours(lab: Lab, host: Host, report: Report) -> None:
    """Report NICs that nothing tells from another one of the host on the same network."""
    for nic in host.interfaces:
        beside = host.nics_on(nic.network)
        path: Path = ("hosts", host.name, "networks", nic.name)
        named = next((each for each in beside if each.ipv6_method == "dhcp"), nic)
        if nic != named and nic.ipv6_method == "dhcp" and lab.networks[nic.network].dhcp6 is not None:
            # Reservations are by the name that a client sends.
            what = f"DHCPv6 on {nic.network} knows one NIC of {host.name}, which is {named.name}"
            report.add(path, what, "give this one an IPv6 address")
        if len(beside) > 1 and host.machine is None and not nic.mac and not nic.addresses:
            others = " and ".join(each.name for each in beside if each is not nic)
            what = f"nothing tells this NIC from {others}, which is on {nic.network} too"
            report.add(path, what, "name its mac, or give it an address")


def _check_methods(host: Host, nic: Interface, report: Report) -> None:
    """Report properties that switch off a family in which the file gives the NIC fixed addresses."""
    for key, values in _WITHOUT.items():
        family = key.partition(".")[0]
        given = ", ".join(str(each) for each in nic.of(int(family[-1])))
        fixed = given and not (nic.dhcp if family == "ipv4" else nic.ipv6_method)
        if fixed and nic.nmcli.get(key) in values and f"{family}.addresses" not in nic.nmcli:
            what = f"{key}: {nic.nmcli[key]} contradicts {family}: {given} of the same NIC"
            path: Path = ("hosts", host.name, "networks", nic.name, "nmcli", key)
            report.add(path, what, f"remove one of the two, {key} or {family}")
