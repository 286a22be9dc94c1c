"""Find keys of a lab file that change nothing where they are used, so that each can be named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from labrun.inventory.file.machine_checks import is_container
from labrun.inventory.file.merging import Merged
from labrun.inventory.file.problems import Path, Report, spelled
from labrun.inventory.file.schema import LabFile
from labrun.inventory.kernel_values import path_of, role_values, value_of
from labrun.inventory.model import Host, Interface, Lab, Mode, Notice
from labrun.inventory.topology.nic_filters import directions
from labrun.inventory.topology.translated import hidden_from
from labrun.inventory.traffic import FilterRule

__all__ = ["find_idle_keys"]

_FOR_MADE: Final = "it applies only to machines that labrun creates"
_FOR_VMS: Final = "it applies only to VMs"
_OF_MACHINES: Final = {
    **dict.fromkeys(("image", "memory", "vcpus", "autostart", "driver", "disks", "hypervisor"), _FOR_MADE),
    # `plan` refuses further disks and UEFI of a container, since the host could not be what the file says.
    **dict.fromkeys(("disk", "firmware"), _FOR_VMS),
    "user": "the login of an existing machine is ssh: {user}",
}
_OF_EXISTING: Final = {
    "user": "the login of a machine that labrun creates is user",
    **dict.fromkeys(("identity", "known_hosts"), "labrun creates the keys of its machines itself"),
}
_OF_VMS: Final = frozenset(key for key, why in _OF_MACHINES.items() if why == _FOR_VMS)
# What libvirt would be told of a network; a mode that needs one of them is told to write it.
_OF_NETWORKS: Final = ("autostart", "bridge_name", "dev", "dhcp", "dns", "forward", "nat_ports")
# The kernel uses the greater of `all` and the NIC's value.
_GREATER: Final = re.compile(r"net/ipv4/conf/(?P<nic>[^/]+)/(?P<what>rp_filter|arp_ignore|arp_announce)")

_Found = Iterator[tuple[Path, str | None]]


def find_idle_keys(
    file: LabFile, lab: Lab, merged: Mapping[str, Merged], report: Report
) -> tuple[Notice, ...]:
    """Return a notice for each place of the file whose value has no effect on any host."""
    idle: dict[Path, str] = {}
    active: set[Path] = set()
    for host in merged.values():
        for path, why in (*_of_host(lab, host, report), *_of_sources(lab, host, report)):
            if why is None:
                active.add(path)
            else:
                idle.setdefault(path, why)
    idle |= dict(_of_lab(file, lab))
    return tuple(
        Notice(report.line_of(path), spelled(path), why=why)
        for path, why in idle.items()
        if path not in active
    )


def _of_host(lab: Lab, merged: Merged, report: Report) -> _Found:
    """Yield the place of every key that may be idle, and why it is for this host, None if it is not."""
    host = lab.hosts[merged.name]
    for key in _OF_MACHINES:
        if getattr(merged.model, key) is not None:
            yield merged.place(report, key), _why(lab, host, key)
    for key in ("port", *_OF_EXISTING):
        if merged.model.ssh is not None and getattr(merged.model.ssh, key) is not None:
            yield merged.place(report, "ssh", key), _OF_EXISTING.get(key) if host.machine else None
    yield from _of_firewall(host, merged, report)
    yield from _of_sysctl(host, merged, report)
    for nic in host.interfaces:
        path: Path = ("hosts", host.name, "networks", nic.name)
        if report.is_in_file((*path, "network")):
            yield (*path, "network"), "that is its name already" if nic.name == nic.network else None
        if nic.filter is not None and host.machine is None:
            yield (*path, "filter"), _FOR_MADE
        if report.is_in_file((*path, "model")) and host.machine is None:
            yield (*path, "model"), _FOR_MADE
        if report.is_in_file((*path, "spoofing")):
            yield (*path, "spoofing"), _why_of_spoofing(lab, host, nic)


def _why_of_spoofing(lab: Lab, host: Host, nic: Interface) -> str | None:
    if host.machine is None:
        return _FOR_MADE
    if nic.spoofing == "deny":
        return "that is the default"
    macvtap = lab.networks[nic.network].mode is Mode.MACVTAP
    return "the frames of a macvtap are not inspected" if macvtap else None


def _why(lab: Lab, host: Host, key: str) -> str | None:
    if host.machine is None:
        return _OF_MACHINES[key]
    driver = "lxc" if is_container(lab, host) else "qemu"
    if key == "firmware" and host.machine.firmware != "bios":
        return None
    return _FOR_VMS if driver == "lxc" and key in _OF_VMS else None


def _of_firewall(host: Host, merged: Merged, report: Report) -> _Found:
    firewall = host.firewall
    if firewall is None:
        return
    place = merged.place(report, "firewall", "allow")
    for number, rule in enumerate(firewall.allow):
        if rule.to is None:
            policy, why = firewall.input, "input is accept, so this is accepted anyway"
        else:
            policy, why = firewall.forward, "forward is accept, so this is forwarded anyway"
        yield (*place, number), why if policy == "accept" else None
    if not firewall.ssh:
        open_anyway = "input is accept, so sshd's ports stay open" if firewall.input == "accept" else None
        yield merged.place(report, "firewall", "ssh"), open_anyway


def _of_sources(lab: Lab, merged: Merged, report: Report) -> _Found:
    """Yield each source of a rule, and why no packet that meets the rule has it, None if some have."""
    host = lab.hosts[merged.name]
    if host.firewall is not None:
        place = merged.place(report, "firewall", "allow")
        for number, rule in enumerate(host.firewall.allow):
            policy = host.firewall.input if rule.to is None else host.firewall.forward
            if rule.source is not None and policy == "drop":
                yield (*place, number, "from"), _of_source(lab, host, rule.source, rule.to)
    for name in dict.fromkeys(nic.filter for nic in host.interfaces if nic.filter is not None):
        for number, found in enumerate(lab.filters[name].rules if name in lab.filters else ()):
            if found.source is not None:
                # What a host sends has its own address, or that of somebody behind it.
                comes = found.direction != "out"
                why = _of_source(lab, host, found.source, None) if comes and found.to is None else None
                yield ("filters", name, number, "from"), why


def _of_source(lab: Lab, host: Host, source: str, to: str | None) -> str | None:
    router = hidden_from(lab, host, source, to)
    return f"what {source} sends to {to or host.name} has the address of {router} by then" if router else None


def _of_sysctl(host: Host, merged: Merged, report: Report) -> _Found:
    for key, value in host.sysctl.items():
        found = _GREATER.fullmatch(path_of(key) or "")
        if found is None or found["nic"] == "all":
            continue
        every = f"net.ipv4.conf.all.{found['what']}"
        most = value_of(host.sysctl, every) or role_values(host).get(every, "0")
        less = value.isdecimal() and most.isdecimal() and int(value) < int(most)
        why = f"{every} is {most}, and the kernel uses the greater" if less else None
        yield merged.place(report, "sysctl", key), why


def _refuses(rule: FilterRule, allowed: FilterRule) -> bool:
    """Tell whether a rule may refuse what another one, before it, lets through."""
    return rule.action != "allow" and bool(set(directions(rule)) & set(directions(allowed)))


def _of_lab(file: LabFile, lab: Lab) -> Iterator[tuple[Path, str]]:
    for name, group in file.groups.items():
        if not group.hosts:
            yield ("groups", name), "it has no hosts"
    used = {nic.filter for host in lab.hosts.values() for nic in host.interfaces}
    for name in file.filters:
        if name not in used:
            yield ("filters", name), "no NIC has it"
        for number, rule in enumerate(lab.filters[name].rules):
            later = lab.filters[name].rules[number + 1 :]
            if rule.action == "allow" and not any(_refuses(each, rule) for each in later):
                yield ("filters", name, number), "no later rule refuses any of it"
    for name, model in file.networks.items():
        if model.nat_ports is not None and model.cidr is None:
            yield ("networks", name, "nat_ports"), "it applies only to IPv4"
    if lab.needs_hypervisor or not lab.hosts:
        return
    if file.hypervisor != "auto":
        yield ("hypervisor",), "every host is an existing machine"
    for name, model in file.networks.items():
        needed = {Mode.MACVTAP: "dev"}.get(lab.networks[name].mode)
        for key in _OF_NETWORKS:
            if key in model.model_fields_set and key != needed:
                yield (
                    ("networks", name, key),
                    "labrun creates no networks for existing machines",
                )
