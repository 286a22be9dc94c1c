"""Check the hypervisor's forwarded ports: that each leads somewhere, and that no two are the same."""

from __future__ import annotations

from collections.abc import Collection

from labrun.hypervisor import is_local
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.model import Lab, Network
from labrun.inventory.topology.hypervisor_forwards import targets_of_forward
from labrun.inventory.traffic import HypervisorForward

__all__ = ["check_forwards"]


def check_forwards(lab: Lab, doubtful: Collection[str], report: Report) -> None:
    """Report forwards that lead nowhere or twice; ``doubtful`` hosts have been reported."""
    first: dict[tuple[str, int], Path] = {}
    for network in lab.networks.values():
        for number, forward in enumerate(network.forward):
            path: Path = ("networks", network.name, "forward", number)
            key = forward.proto, forward.port
            if lab.hypervisor != "auto" and not is_local(lab.hypervisor):
                what = f"{lab.hypervisor} is another machine: libvirt forwards no ports"
                report.add(path, what, "run labrun on the hypervisor itself")
            if first.setdefault(key, path) != path:
                where = f"the first is in line {report.line_of(first[key])}"
                report.add(path, f"{forward.proto}/{forward.port} is forwarded twice", where)
            _check(lab, network, forward, (*path, "to"), doubtful, report)


def _check(
    lab: Lab,
    network: Network,
    forward: HypervisorForward,
    path: Path,
    doubtful: Collection[str],
    report: Report,
) -> None:
    if not 1 <= forward.to_port <= 65535:
        report.add(path, f"{forward.to_port} is not a valid port", "1 to 65535")
    targets = targets_of_forward(lab, network, forward)
    if forward.to in lab.hosts:
        if forward.to in doubtful:
            return
        if not lab.hosts[forward.to].nics_on(network.name):
            members = ", ".join(dict.fromkeys(host.name for host, _ in lab.members(network.name))) or "nobody"
            what = f"{forward.to} is not on the network {network.name}"
            report.add(path, what, f"on it: {members}; a router there can forward on")
        elif not targets:
            report.add(path, f"{forward.to} has no known address on {network.name}")
        return
    if not targets:
        report.unknown(path, "host", forward.to, lab.hosts)
    elif not any(subnet is not None and targets[0] in subnet for subnet in (network.cidr, network.cidr6)):
        report.add(path, f"{forward.to} is outside the network {network.name}")
