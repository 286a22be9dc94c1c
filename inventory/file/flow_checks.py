"""Check a host's firewall and address translation against the whole lab."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from labrun.inventory.file.merging import Merged
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.model import Host, Lab, Role
from labrun.inventory.topology.flows import place, redirected, targets_of
from labrun.inventory.traffic import FirewallRule, Forward

__all__ = ["check_flows"]


def check_flows(lab: Lab, hosts: Mapping[str, Merged], doubtful: Collection[str], report: Report) -> None:
    """Report rules and forwards that no packet can ever match; unknown names have been reported before.

    ``doubtful`` are hosts that lost a NIC to an error, so that the same error is not reported twice.
    """
    for name, host in lab.hosts.items():
        check = _Flows(lab, host, hosts[name], doubtful, report)
        for number, rule in enumerate(host.firewall.allow if host.firewall is not None else ()):
            check.rule(number, rule)
        if host.nat is not None:
            check.nat()


class _Flows:
    def __init__(self, lab: Lab, host: Host, merged: Merged, doubtful: Collection[str], report: Report):
        self._lab, self._host, self._merged = lab, host, merged
        self._doubtful, self._report = doubtful, report
        self._networks = ", ".join(dict.fromkeys(nic.network for nic in host.interfaces)) or "none"

    def rule(self, number: int, rule: FirewallRule) -> None:
        """Check both ends of one accepted flow."""
        path: Path = (*self._merged.path("firewall"), "allow", number)
        # A group's rule applies to all of its hosts, and does not fit each of them equally well.
        if rule.to == self._host.name and path[0] == "hosts":
            self._report.add(
                (*path, "to"), f"{rule.to} is this host itself", "a rule without to is for incoming traffic"
            )
        ends = [("from", rule.source), ("to", rule.to)]
        known = [self._end((*path, key), name) for key, name in ends if name is not None]
        versions = [versions for versions in known if versions]
        if len(versions) == 2 and not versions[0] & versions[1]:
            self._report.add(path, f"{rule.source} and {rule.to} have no IP version in common")

    def _end(self, path: Path, name: str) -> set[int]:
        versions: set[int] = {prefix.version for prefix in place(self._lab, name)}
        if versions or name in self._doubtful:
            return versions
        if name in self._lab.networks and not self._is_reported(name):
            self._report.add(path, f"the network {name} has no subnet in the file", "name a prefix instead")
        elif name in self._lab.hosts:
            self._report.add(path, f"{name} has no known address", "name a prefix instead")
        return versions

    def _is_reported(self, network: str) -> bool:
        """Tell whether the network has no subnet only because that of the file is wrong."""
        return any(self._report.is_in_file(("networks", network, key)) for key in ("cidr", "cidr6"))

    def nat(self) -> None:
        """Check that this is a router, and check every network and forward."""
        host, nat, path = self._host, self._host.nat, self._merged.path("nat")
        if nat is None:
            return
        if host.role is not Role.ROUTER:
            self._report.add(path, "only a router translates addresses", f"give {host.name} role: router")
        for number, name in enumerate(nat.masquerade):
            self._end((*path, "masquerade", number), name)
        first: dict[tuple[str, int, str], Path] = {}
        for number, forward in enumerate(nat.forward):
            at: Path = (*path, "forward", number)
            key = forward.on, forward.port, forward.proto
            if first.setdefault(key, at) != at:
                what = f"{forward.proto}/{forward.port} on {forward.on} is forwarded twice"
                self._report.add(at, what, f"the first is in line {self._report.line_of(first[key])}")
            self._forward(at, forward)

    def _forward(self, path: Path, forward: Forward) -> None:
        host, lab, report = self._host, self._lab, self._report
        if not 1 <= forward.to_port <= 65535:
            report.add((*path, "to"), f"{forward.to_port} is not a valid port", "1 to 65535")
        if forward.to == host.name:
            report.add((*path, "to"), f"{forward.to} cannot forward to itself", "allow the port instead")
            return
        nic = next(iter(host.nics_on(forward.on)), None)
        if {host.name, forward.to} & set(self._doubtful) or forward.on not in lab.networks:
            return
        if nic is None:
            hint = f"its networks are: {self._networks}"
            report.add((*path, "on"), f"{host.name} is not on the network {forward.on}", hint)
            return
        theirs = targets_of(lab, host, forward.to)
        if forward.to in lab.hosts and not theirs:
            shared = {n.network for n in lab.hosts[forward.to].interfaces} & {
                n.network for n in host.interfaces
            }
            if shared:
                report.add((*path, "to"), f"{forward.to} has no known address on a network of {host.name}")
            else:
                what = f"{forward.to} is on none of {host.name}'s networks"
                report.add((*path, "to"), what, f"they are: {self._networks}")
        elif theirs and not any(redirected(lab, host, forward)):
            if nic.ipv4 is None and nic.ipv6 is None:
                what = f"{host.name} has no known address on {forward.on}"
                report.add((*path, "on"), what, "give its NIC an address, or its mac")
            else:
                versions = " or ".join(f"IPv{version}" for version in sorted({t.version for t in theirs}))
                report.add((*path, "on"), f"{host.name} has no {versions} address on {forward.on}")
