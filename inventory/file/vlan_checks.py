"""Check VLANs: the network that carries each of them, and the NICs of the hosts that are on both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from labrun.inventory.file.network_models import NetworkModel
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.file.schema import LabFile
from labrun.inventory.file.validate import Dropped
from labrun.inventory.model import Host, Interface, Lab, Mode, Network

__all__ = ["check_vlans"]

# What libvirt does for a network; it knows nothing of the VLANs in it.
_NOT_OF_VLANS: Final = (
    *("mode", "hypervisor_address", "dhcp", "domain", "dns", "autostart", "dev", "bridge", "bridge_name"),
    *("nat_ports", "forward"),
)
# What the hypervisor does at a NIC, where the frames of its VLANs pass as well.
_OF_CARRIERS: Final = ("filter", "model", "spoofing")
_MTU: Final = 1500


def check_vlans(file: LabFile, lab: Lab, cut: Dropped, report: Report) -> None:
    """Report VLANs on networks that cannot carry them, and NICs on VLANs that their host has no NIC for."""
    first: dict[tuple[str, int], str] = {}
    for name, model in file.networks.items():
        if model.vlan is None:
            continue
        path: Path = ("networks", name)
        _check_keys(path, model, report)
        if not cut.has("networks", model.vlan.on):
            _check_carrier((*path, "vlan", "on"), name, lab.networks, report)
            _check_size(path, lab.networks, report)
        other = first.setdefault((model.vlan.on, model.vlan.id), name)
        if other != name:
            where = f"{other} has it in line {report.line_of(('networks', other, 'vlan', 'id'))}"
            report.add((*path, "vlan", "id"), f"{model.vlan.id} is used twice on {model.vlan.on}", where)
    for host in lab.hosts.values():
        for nic in host.interfaces:
            if lab.networks[nic.network].vlan is not None:
                _check_nic(lab, host, nic, report)


def _check_keys(path: Path, model: NetworkModel, report: Report) -> None:
    for key in _NOT_OF_VLANS:
        if key in model.model_fields_set:
            report.add((*path, key), f"a VLAN has no {key}", "libvirt has no part in it: remove the key")


def _check_carrier(path: Path, name: str, networks: Mapping[str, Network], report: Report) -> None:
    vlan = networks[name].vlan
    if vlan is None:
        return
    carrier = networks.get(vlan.on)
    if carrier is None:
        report.unknown(path, "network", vlan.on, [each for each in networks if each != name])
    elif vlan.on == name:
        report.add(path, f"{name} cannot carry itself", "name the network whose frames have the tag")
    elif carrier.vlan is not None:
        report.add(path, f"{vlan.on} is a VLAN, too, and VLANs are not stacked", f"on: {carrier.vlan.on}")
    elif carrier.mode is Mode.MACVTAP:
        report.add(path, f"{vlan.on} is of mode macvtap, and VLANs need a bridge", "mode: bridge, or another")


def _check_size(path: Path, networks: Mapping[str, Network], report: Report) -> None:
    network = networks[str(path[1])]
    carrier = networks.get(network.vlan.on) if network.vlan is not None else None
    most = _MTU if carrier is None or carrier.mtu is None else carrier.mtu
    if network.mtu is not None and carrier is not None and network.mtu > most:
        report.add((*path, "mtu"), f"{network.mtu} is more than {carrier.name} carries, which is {most}")


def _check_nic(lab: Lab, host: Host, nic: Interface, report: Report) -> None:
    """Report what keeps a NIC from being a VLAN device on another NIC of its host."""
    path: Path = ("hosts", host.name, "networks", nic.name)
    vlan = lab.networks[nic.network].vlan
    if vlan is None:
        return
    carriers = host.nics_on(vlan.on)
    if host.machine is None:
        what = f"{nic.network} is a VLAN, which labrun sets up only on machines that it creates"
        report.add(path, what)
    elif not carriers and vlan.on in lab.networks:
        what = f"{host.name} is not on {vlan.on}, which carries the VLAN {nic.network}"
        report.add(path, what, f"add {vlan.on}: none, or an address")
    elif nic != host.nics_on(nic.network)[0]:
        what = f"{host.name} is on the VLAN {nic.network} already"
        report.add(path, what, "give the other NIC this address")
    for key in _OF_CARRIERS:
        if report.is_in_file((*path, key)):
            report.add((*path, key), f"a NIC on a VLAN has no {key}", f"its frames are those of {vlan.on}")
    for key in nic.nmcli:
        if key.endswith(("cloned-mac-address", "vlan.id", "vlan.parent", "vlan.interface-name")):
            report.add((*path, "nmcli", key), f"{key} is what makes the VLAN", "remove it")
    for carrier in carriers[:1]:
        if carrier.filter is not None:
            where: Path = ("hosts", host.name, "networks", carrier.name, "filter")
            what = f"a filter does not tell {vlan.on} from the VLAN {nic.network} on it"
            report.add(where, what, f"`firewall` of {host.name}")
