"""Assemble the model from networks, NICs, hosts and the rest; every value is derived and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Literal

from labrun.inventory.check_model import Check, Match
from labrun.inventory.file.check_models import CHECK_KINDS, CheckModel
from labrun.inventory.file.file_contents import with_files
from labrun.inventory.file.filter_checks import check_filters
from labrun.inventory.file.flow_checks import check_flows
from labrun.inventory.file.forward_checks import check_forwards
from labrun.inventory.file.gateways import WaysOut
from labrun.inventory.file.host_models import SSHD_PROFILES, HostModel
from labrun.inventory.file.hypervisor_checks import check_hypervisors
from labrun.inventory.file.images import build_images
from labrun.inventory.file.jump_checks import check_jumps
from labrun.inventory.file.machine_checks import check_machines
from labrun.inventory.file.merging import Merged, merge_hosts
from labrun.inventory.file.network_models import (
    FILTER_ACTIONS,
    FilterRuleModel,
    FirewallModel,
    NatModel,
    with_static,
)
from labrun.inventory.file.nic_checks import check_nics
from labrun.inventory.file.nics import build_nics
from labrun.inventory.file.no_effect import find_idle_keys
from labrun.inventory.file.problems import Report
from labrun.inventory.file.references import check_references
from labrun.inventory.file.schema import LabFile
from labrun.inventory.file.source import Source
from labrun.inventory.file.sshd_checks import check_sshd
from labrun.inventory.file.subnets import build_networks
from labrun.inventory.file.sysctl_checks import check_sysctl
from labrun.inventory.file.validate import Dropped
from labrun.inventory.file.vlan_checks import check_vlans
from labrun.inventory.model import (
    DEFAULT_USER,
    Disk,
    Host,
    Hypervisor,
    Lab,
    Machine,
    Notice,
    Role,
    Service,
    SshSettings,
)
from labrun.inventory.route_patterns import RoutePattern, route_pattern
from labrun.inventory.sshd_ports import listening_ports
from labrun.inventory.topology.checks import is_about_nobody
from labrun.inventory.traffic import Filter, FilterRule, Firewall, FirewallRule, Forward, Nat
from labrun.state import SSH_PORT

__all__ = ["build_lab"]

_IMAGE: Final = "debian-12"
_MEMORY: Final = 512
_DISK: Final = 10


def build_lab(file: LabFile, cut: Dropped, source: Source, report: Report) -> Lab:
    """Return the lab; it is complete only if the report stays empty."""
    merged = merge_hosts(file, report)
    networks = build_networks(file, merged, report)
    nics = build_nics(file.name, merged, networks, cut, report)
    ways = WaysOut(networks, nics, cut, report)
    check_references(file, merged, cut, report)
    hosts = {name: _host(host, ways) for name, host in merged.items()}
    lab = Lab(
        name=file.name,
        hypervisor=file.hypervisor,
        networks=MappingProxyType(networks),
        hosts=MappingProxyType(hosts),
        groups=MappingProxyType({name: tuple(group.hosts) for name, group in file.groups.items()}),
        images=build_images(file, source, report),
        filters=MappingProxyType(
            {
                name: Filter(name, tuple(_filter_rule(rule) for rule in rules))
                for name, rules in file.filters.items()
            }
        ),
        checks=tuple(_check(check) for check in file.checks),
        routing=file.routing,
        schedule_every=file.schedule.every if file.schedule else None,
        source=source.name,
        directory=source.directory,
        digest=source.digest,
        hypervisors=MappingProxyType(
            {
                name: Hypervisor(name, entry.uri, entry.tunnel, entry.weight or 1)
                for name, entry in file.hypervisors.items()
            }
        ),
    )
    lab = with_files(lab, merged, report, allow_outside=source.allow_outside)
    check_sysctl(lab.hosts, merged, report)
    check_sshd(lab, merged, report)
    check_flows(lab, merged, nics.doubtful, report)
    check_filters(lab, nics.doubtful, report)
    check_nics(lab, report)
    check_vlans(file, lab, cut, report)
    check_hypervisors(file, lab, merged, cut, report)
    check_machines(lab, merged, report)
    check_forwards(lab, nics.doubtful, report)
    if not cut.names and not cut.sections:
        _refuse_empty(lab, report)
    if not report:
        check_jumps(lab, merged, report)
    return lab if report else replace(lab, notices=_notices(file, lab, merged, report))


def _notices(file: LabFile, lab: Lab, merged: Mapping[str, Merged], report: Report) -> tuple[Notice, ...]:
    idle = find_idle_keys(file, lab, merged, report)
    if lab.hypervisor != "auto":
        return tuple(sorted(idle))
    # Only the hypervisor that is chosen decides whether these hosts are containers.
    as_containers = find_idle_keys(file, replace(lab, hypervisor="lxc:///system"), merged, report)
    further = [replace(each, driver="lxc") for each in as_containers if each not in idle]
    return tuple(sorted((*idle, *further)))


def _refuse_empty(lab: Lab, report: Report) -> None:
    """Report checks that would pass because they match no host."""
    for number, check in enumerate(lab.checks):
        if is_about_nobody(lab, check):
            if check.to is None:
                report.add(("checks", number), "no host matches this check", f"{check.source} has no hosts")
            else:
                hint = "from and to must name different hosts"
                report.add(("checks", number), "no two hosts match this check", hint)


def _host(host: Merged, ways: WaysOut) -> Host:
    model = host.model
    return Host(
        name=host.name,
        role=Role(model.role or "host"),
        interfaces=ways.nics.by_host[host.name],
        user=model.user or DEFAULT_USER,
        machine=_machine(model) if model.address is None else None,
        gateway=ways.gateway(host),
        routes=ways.routes(host),
        ignored_routes=_ignored_routes(model),
        sysctl=MappingProxyType(dict(model.sysctl or {})),
        sshd=_sshd(model),
        sshd_profile=_sshd_profile(model),
        firewall=_firewall(model.firewall),
        nat=_nat(model.nat),
        selinux=model.selinux,
        packages=tuple(model.packages or ()),
        services=MappingProxyType(
            {name: Service(unit.enabled, unit.running) for name, unit in (model.services or {}).items()}
        ),
        hostname=model.hostname,
        hosts_file=model.address is None if model.hosts_file is None else model.hosts_file,
        exclusive=bool(model.exclusive),
        access_via=model.access.via if model.access else None,
        redundancy=model.redundancy,
        last_resort=_last_resort(model),
        groups=host.groups,
        ssh_keys=host.ssh_keys,
        address=model.address,
        ssh=_ssh(model),
        hypervisor=None if model.hypervisor == "auto" else model.hypervisor,
    )


def _ignored_routes(model: HostModel) -> tuple[RoutePattern, ...]:
    return tuple(map(route_pattern, with_static(model.routes or []).ignore or ()))


def _last_resort(model: HostModel) -> Literal["reboot", "leave"]:
    """Return the declared value; by default, only machines that labrun created are rebooted."""
    if model.guard is not None:
        return model.guard.last_resort
    return "reboot" if model.address is None else "leave"


def _machine(model: HostModel) -> Machine:
    return Machine(
        image=model.image or _IMAGE,
        memory=model.memory or _MEMORY,
        vcpus=model.vcpus,
        disk=model.disk or _DISK,
        disks=tuple(Disk(disk.size) for disk in model.disks or ()),
        firmware=model.firmware or "bios",
        autostart=bool(model.autostart),
        driver=model.driver,
    )


def _sshd(model: HostModel) -> Mapping[str, tuple[str, ...]] | None:
    if model.sshd is False:
        return None
    keywords = {key: tuple(values) for key, values in (model.sshd or {}).items() if key != "profile"}
    port = model.ssh.port if model.ssh is not None and model.address is None else None
    if port not in (None, SSH_PORT) and "port" not in keywords and port not in listening_ports(keywords):
        keywords["port"] = (str(port),)
    return MappingProxyType(keywords)


def _sshd_profile(model: HostModel) -> Literal["host", "router", "bastion"] | None:
    found = (model.sshd or {}).get("profile")
    return next((name for name in SSHD_PROFILES if found == [name]), None)


def _firewall(model: FirewallModel | None) -> Firewall | None:
    if model is None:
        return None
    rules = (
        FirewallRule(rule.proto, tuple(rule.port or ()), rule.source, rule.to) for rule in model.allow or ()
    )
    return Firewall(model.input or "accept", model.forward or "accept", model.ssh is not False, tuple(rules))


def _nat(model: NatModel | None) -> Nat | None:
    if model is None:
        return None
    forwards = []
    for forward in model.forward or ():
        to, _, port = forward.to.rpartition(":")
        forwards.append(Forward(forward.on, forward.port, to, int(port), forward.proto))
    if model.masquerade == "all":
        return Nat((), tuple(forwards), masquerade_all=True)
    return Nat(tuple(model.masquerade or ()), tuple(forwards))


def _filter_rule(model: FilterRuleModel) -> FilterRule:
    action = next(each for each in FILTER_ACTIONS if getattr(model, each) is not None)
    ports = tuple(model.port or ())
    return FilterRule(getattr(model, action), model.proto, ports, action, model.source, model.to, model.log)


def _ssh(model: HostModel) -> SshSettings:
    ssh = model.ssh
    if ssh is None:
        return SshSettings()
    if model.address is None:
        return SshSettings(port=ssh.port)
    return SshSettings(ssh.user, ssh.port, ssh.identity, ssh.known_hosts)


def _check(model: CheckModel) -> Check:
    kind = next(kind for kind in CHECK_KINDS if getattr(model, kind) is not None)
    value = getattr(model, kind)
    match = model.stdout or model.body
    return Check(
        name=model.name,
        source=model.source,
        to=model.to,
        kind=kind,
        target="" if value is True or isinstance(value, dict) else str(value),
        expect=model.expect,
        wait=model.wait,
        level=model.level,
        via=tuple(model.via or ()),
        values=MappingProxyType(dict(value) if isinstance(value, dict) else {}),
        match=Match(match.contains, match.regex, match.equals, match.json_path) if match else None,
        status=model.status,
        answer=model.answer,
    )
