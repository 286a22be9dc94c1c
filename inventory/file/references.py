"""Check every name in the lab file that refers to another place: group members, filters, flows, checks."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Network, ip_address, ip_network

from labrun.inventory.file.address_parsing import IPV4_MAPPED
from labrun.inventory.file.merging import Merged
from labrun.inventory.file.problems import Path, Report, quoted
from labrun.inventory.file.schema import LabFile
from labrun.inventory.file.subnets import LONGEST_NAME
from labrun.inventory.file.validate import Dropped

__all__ = ["check_references"]


def check_references(file: LabFile, hosts: Mapping[str, Merged], cut: Dropped, report: Report) -> None:
    """Report names that nothing in the file defines, and names that two things share."""
    names = _Names(file, cut, report)
    _check_lab_name(file, report)
    _check_groups(file, names, report)
    for host in hosts.values():
        _check_host(file, host, names, report)
    for name, rules in file.filters.items():
        for number, rule in enumerate(rules):
            for key, end in (("from", rule.source), ("to", rule.to)):
                if end is not None:
                    names.place(("filters", name, number, key), end)
    _check_checks(file, names, report)


class _Names:
    def __init__(self, file: LabFile, cut: Dropped, report: Report):
        self._file, self._cut, self._report = file, cut, report

    def host(self, path: Path, name: str) -> None:
        if name not in self._file.hosts and not self._cut.has("hosts", name):
            self._report.unknown(path, "host", name, self._file.hosts)

    def network(self, path: Path, name: str) -> None:
        if name not in self._file.networks and not self._cut.has("networks", name):
            self._report.unknown(path, "network", name, self._file.networks)

    def filter(self, path: Path, name: str) -> None:
        if name not in self._file.filters and not self._cut.has("filters", name):
            self._report.unknown(path, "filter", name, self._file.filters)

    def place(self, path: Path, name: str) -> None:
        """Accept a network, a host or a prefix."""
        known = [*self._file.networks, *self._file.hosts]
        hidden = self._cut.has("networks", name) or self._cut.has("hosts", name)
        if name in known or hidden:
            return
        if not _is_prefix(name):
            self._report.unknown(path, "network or host", name, known)
        elif _is_mapped(name):
            self._report.add(path, f"{quoted(name)} is IPv4 written as IPv6", "write it as IPv4")

    def side(self, path: Path, name: str) -> None:
        """Accept a host, a network or @group: one end of a check."""
        if name.startswith("@"):
            groups = [self._file.name, "host", "router", *self._file.networks, *self._file.groups]
            hidden = self._cut.has("networks", name[1:]) or self._cut.has("groups", name[1:])
            if name[1:] not in groups and not hidden:
                self._report.unknown(path, "group", name[1:], groups)
        elif name in self._file.groups and name not in self._file.hosts:
            self._report.add(path, f"no host is called {quoted(name)}", f"the group is @{name}")
        elif name not in self._file.networks and not self._cut.has("networks", name):
            known = [*self._file.hosts, *self._file.networks]
            if name not in self._file.hosts and not self._cut.has("hosts", name):
                self._report.unknown(path, "host", name, known)

    def end(self, path: Path, name: str) -> None:
        """Accept a host or an address."""
        if not _is_address(name):
            self.host(path, name)


def _check_lab_name(file: LabFile, report: Report) -> None:
    """Report a lab whose name is that of another group: ``@NAME`` would mean the whole lab."""
    if file.name in ("host", "router"):
        report.add(("name",), f"a lab cannot share its name with the role {quoted(file.name)}")
    for section, kind in (("networks", "network"), ("groups", "group")):
        if report.is_in_file((section, file.name)):
            line = report.line_of((section, file.name))
            report.add(
                ("name",), f"a lab cannot share its name with its {kind}", f"the {kind} is in line {line}"
            )


def _check_groups(file: LabFile, names: _Names, report: Report) -> None:
    for group, model in file.groups.items():
        if group in file.networks:
            line = report.line_of(("networks", group))
            report.add(
                ("groups", group),
                "a group cannot share its name with a network",
                f"the network is in line {line}",
            )
        seen: set[str] = set()
        for number, host in enumerate(model.hosts):
            path: Path = ("groups", group, "hosts", number)
            names.host(path, host)
            if host in seen:
                report.add(path, f"{host} is listed twice")
            seen.add(host)


def _check_host(file: LabFile, host: Merged, names: _Names, report: Report) -> None:
    path: Path = ("hosts", host.name)
    if len(full := f"{file.name}-{host.name}") > LONGEST_NAME:
        report.add(path, f"its name in libvirt would be {full}", f"longer than {LONGEST_NAME} characters")
    if host.name in file.networks:
        line = report.line_of(("networks", host.name))
        report.add(path, "a host cannot share its name with a network", f"the network is in line {line}")
    for name, nic in (host.model.networks or {}).items():
        network = nic.where(name)
        if nic.filter is not None:
            at: Path = (*path, "networks", name, "filter")
            names.filter(at, nic.filter)
            if network in file.networks and file.networks[network].mode == "macvtap":
                what = "a filter has no effect on a macvtap network: its packets bypass the hypervisor"
                report.add(at, what, "mode: bridge, or the host's own firewall")
    if host.model.access is not None:
        via = (*host.path("access"), "via")
        names.host(via, host.model.access.via)
        if host.model.access.via == host.name:
            report.add(via, f"{host.name} cannot be reached through itself")
    _check_flows(host, names, report)


def _check_flows(host: Merged, names: _Names, report: Report) -> None:
    if host.model.firewall is not None:
        for number, rule in enumerate(host.model.firewall.allow or ()):
            at = (*host.path("firewall"), "allow", number)
            for key, name in (("from", rule.source), ("to", rule.to)):
                if name is not None:
                    names.place((*at, key), name)
    if host.model.nat is not None:
        at = host.path("nat")
        forwards = enumerate(host.model.nat.forward or ())
        hidden = host.model.nat.masquerade
        listed = enumerate(hidden if isinstance(hidden, list) else ())
        used = [((*at, "masquerade", n), name) for n, name in listed]
        for number, forward in forwards:
            used.append(((*at, "forward", number, "on"), forward.on))
            names.end((*at, "forward", number, "to"), forward.to.rpartition(":")[0])
        for place, network in used:
            names.network(place, network)


def _check_checks(file: LabFile, names: _Names, report: Report) -> None:
    first: dict[str, int] = {}
    for number, check in enumerate(file.checks):
        path: Path = ("checks", number)
        names.side((*path, "from"), check.source)
        if check.to is not None and not _is_address(check.to):
            names.side((*path, "to"), check.to)
        elif check.to is not None and check.trace:
            report.add((*path, "to"), "a trace check goes to a host of the lab")
        elif check.to is not None and _is_mapped(check.to):
            report.add((*path, "to"), f"{quoted(check.to)} is IPv4 written as IPv6", "write it as IPv4")
        for place, via in enumerate(check.via or ()):
            names.end((*path, "via", place), via)
        if first.setdefault(check.name, number) != number:
            line = report.line_of(("checks", first[check.name]))
            report.add((*path, "name"), "another check has this name", f"in line {line}")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_prefix(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_mapped(text: str) -> bool:
    found = ip_network(text)
    return isinstance(found, IPv6Network) and found.subnet_of(IPV4_MAPPED)
