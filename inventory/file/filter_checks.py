"""Check filters against the lab: rules that can never match, and NICs on which they could not be enforced."""

from __future__ import annotations

from collections.abc import Collection

from labrun.hypervisor import is_local
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.model import Host, Interface, Lab, Mode
from labrun.inventory.topology.flows import place
from labrun.inventory.traffic import Filter, FilterRule

__all__ = ["check_filters"]

# The IP version that a protocol belongs to; the others are in both.
_ONLY_IN = {"ipv4": 4, "icmp": 4, "ipv6": 6, "icmpv6": 6}


def check_filters(lab: Lab, doubtful: Collection[str], report: Report) -> None:
    """Report what of the filters could not be enforced; unknown names have been reported before.

    ``doubtful`` are hosts that lost a NIC to an error, so that the same error is not reported twice.
    """
    for name, found in lab.filters.items():
        for number, rule in enumerate(found.rules):
            _check_ends(lab, ("filters", name, number), rule, doubtful, report)
    for host in lab.hosts.values():
        for nic in host.interfaces:
            enforced = lab.filters.get(nic.filter or "")
            if host.machine is not None and enforced is not None:
                _check_nic(lab, host, nic, enforced, report)


def _check_ends(lab: Lab, path: Path, rule: FilterRule, doubtful: Collection[str], report: Report) -> None:
    versions = {_ONLY_IN[rule.proto]} if rule.proto in _ONLY_IN else {4, 6}
    for key, name in (("from", rule.source), ("to", rule.to)):
        if name is None:
            continue
        known = {prefix.version for prefix in place(lab, name)}
        if not known:
            if name in lab.hosts and name not in doubtful:
                report.add((*path, key), f"{name} has no known address", "name a prefix instead")
            elif name in lab.networks and not _is_reported(name, report):
                report.add(
                    (*path, key), f"the network {name} has no subnet in the file", "name a prefix instead"
                )
            return
        if not versions & known:
            if rule.proto in _ONLY_IN:
                report.add((*path, key), f"{name} has no IPv{_ONLY_IN[rule.proto]} address")
            else:
                report.add(path, f"{rule.source} and {rule.to} have no IP version in common")
            return
        versions &= known


def _is_reported(network: str, report: Report) -> bool:
    return any(report.is_in_file(("networks", network, key)) for key in ("cidr", "cidr6"))


def _check_nic(lab: Lab, host: Host, nic: Interface, found: Filter, report: Report) -> None:
    """Report a filter that nothing would enforce on this NIC."""
    path: Path = ("hosts", host.name, "networks", nic.name, "filter")
    network = lab.networks[nic.network]
    if network.mode is Mode.MACVTAP:
        what = f"labrun cannot filter a NIC on {nic.network}: the frames of a macvtap do not pass a bridge"
        report.add(path, what, f"mode: bridge for {nic.network}, or a firewall on {host.name}")
    elif found.needs_nftables and not is_local(lab.hypervisor) and lab.hypervisor != "auto":
        what = f"{found.name} needs nftables on the hypervisor, and {lab.hypervisor} is another machine"
        report.add(path, what, "leave allow, reject and log out of it: libvirt can only deny")
    elif network.hypervisor4 is None and network.hypervisor6 is None and _rejects(found):
        what = f"{found.name} rejects, and the hypervisor has no address on {nic.network} to answer from"
        report.add(path, what, "deny instead of reject")


def _rejects(found: Filter) -> bool:
    return any(rule.action == "reject" for rule in found.rules)
