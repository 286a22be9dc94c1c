"""Check a lab over several hypervisors, as far as the file alone shows where its hosts are."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from labrun.hypervisor import is_local
from labrun.inventory.file.machine_checks import is_container
from labrun.inventory.file.merging import Merged
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.file.schema import LabFile
from labrun.inventory.file.validate import Dropped
from labrun.inventory.hypervisor_model import Hypervisor
from labrun.inventory.model import Host, Lab
from labrun.inventory.topology.placement import span_fault

__all__ = ["check_hypervisors"]


def check_hypervisors(
    file: LabFile, lab: Lab, merged: Mapping[str, Merged], cut: Dropped, report: Report
) -> None:
    """Report hypervisors that contradict each other, and hosts that cannot be where the file puts them."""
    if "hypervisor" in file.model_fields_set and file.hypervisors:
        what = "hypervisor and hypervisors exclude each other"
        report.add(("hypervisor",), what, "remove this one, or move it into hypervisors")
    first: dict[str, str] = {}
    for name, each in lab.hypervisors.items():
        _check_entry(each, ("hypervisors", name), report)
        for key, value in (("uri", each.uri), ("tunnel", str(each.tunnel) if each.tunnel else "")):
            other = first.setdefault(f"{key} {value}", name) if value else name
            if other != name:
                at: Path = ("hypervisors", name, key)
                path = at if report.is_in_file(at) else at[:-1]
                report.add(path, f"{other} has the same {key}", "each hypervisor is another machine")
    here = [each for each in lab.hypervisors.values() if is_local(each.uri)]
    for each in here[1:]:
        if each.uri != here[0].uri:
            what = f"{here[0].name} is this machine too"
            report.add(("hypervisors", each.name), what, "`driver:` makes a host a container or a VM")
    for host in lab.hosts.values():
        if host.hypervisor is not None:
            _check_host(lab, host, merged[host.name].place(report, "hypervisor"), cut, report)
    if lab.hypervisors:
        _check_networks(lab, report)
        _check_filters(lab, report)


def _check_entry(each: Hypervisor, path: Path, report: Report) -> None:
    if each.name == "auto":
        report.add(path, 'the name "auto" is reserved')
    if urlsplit(each.uri).scheme.startswith("test"):
        report.add(path, f"{each.uri} has no machines", "libvirt's test driver goes with `hypervisor:`")
    elif not is_local(each.uri) and each.uri.startswith("lxc"):
        report.add(path, f"{each.uri} is another machine: containers need a local hypervisor")
    tunnel = each.tunnel
    if tunnel is not None and (tunnel.is_unspecified or tunnel.is_loopback or tunnel.is_multicast):
        report.add((*path, "tunnel"), f"no other machine can send to {tunnel}", "an address of its own NIC")


def _check_host(lab: Lab, host: Host, path: Path, cut: Dropped, report: Report) -> None:
    name = host.hypervisor or ""
    found = lab.hypervisors.get(name)
    if not lab.hypervisors and "hypervisors" not in cut.sections and not cut.names.get("hypervisors"):
        report.add(path, "the file has no hypervisors", "hypervisors: {a: qemu:///system, b: ...}")
    elif found is None and not cut.has("hypervisors", name):
        report.unknown(path, "hypervisor", name, lab.hypervisors)
    elif found is not None and not is_local(found.uri) and is_container(lab, host):
        report.add(path, f"{host.name} is a container, and {name} is another machine", "driver: qemu")


def _check_networks(lab: Lab, report: Report) -> None:
    for network in lab.networks.values():
        path: Path = ("networks", network.name)
        if network.forward:
            what = "ports are forwarded only by a lab's single hypervisor"
            report.add((*path, "forward"), what, "`hypervisor:` names one")
        on = {host.hypervisor for host, _ in lab.members(network.name) if host.machine is not None}
        if network.is_beyond and (len(on) > 1 or None in on) and len(lab.hypervisors) > 1:
            what = f"{network.mode} leads to a device of one hypervisor, and its hosts may be on several"
            report.add(path, what, "give its hosts the same `hypervisor:`")
        named = {name for name in on if name is not None}
        if not network.is_beyond and (why := span_fault(lab, network, named)):
            report.add(path, *why)


def _check_filters(lab: Lab, report: Report) -> None:
    """Report rules that only nftables has, where another machine may have to enforce them."""
    for host in lab.hosts.values():
        named = lab.hypervisors.get(host.hypervisor or "")
        far = [each for each in ([named] if named else lab.hypervisors.values()) if not is_local(each.uri)]
        for nic in host.interfaces:
            found = lab.filters.get(nic.filter or "")
            if found is not None and found.needs_nftables and far and host.machine is not None:
                path: Path = ("hosts", host.name, "networks", nic.name, "filter")
                what = f"{found.name} needs nftables on the hypervisor, and {far[0].name} is another machine"
                report.add(path, what, "leave allow, reject and log out of it: libvirt can only deny")
