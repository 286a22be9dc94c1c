"""The list of resources that ``configure`` manages, and the specs made from the lab file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NotRequired, TypedDict

from labrun.inventory.model import Lab
from labrun.secrets import Secrets
from labrun.tasks.configure.behind import Behind
from labrun.tasks.configure.files import Files
from labrun.tasks.configure.hostname import Hostname
from labrun.tasks.configure.hosts_file import Hosts
from labrun.tasks.configure.nftables import NftSection
from labrun.tasks.configure.nmcli import Nmcli
from labrun.tasks.configure.packages import Packages
from labrun.tasks.configure.plan import HostPlan, Json, Resource, SectionPlan
from labrun.tasks.configure.selinux import Selinux
from labrun.tasks.configure.services import Services
from labrun.tasks.configure.ssh_keys import SshKeys
from labrun.tasks.configure.sshd import Sshd
from labrun.tasks.configure.sysctl import Sysctl
from labrun.tasks.guest.facts.applied import PROBE as APPLIED
from labrun.tasks.guest.facts.guard import PROBE as GUARD
from labrun.tasks.guest.shell import Facts, Probe, gather_script
from labrun.tasks.judging import understood
from labrun.tasks.state.item import Words
from labrun.tasks.state.sections import FIREWALL, NAT, NMCLI

__all__ = [
    "RESOURCES",
    "SECTIONS",
    "HostSpec",
    "explain",
    "gather",
    "host_spec",
    "plan_host",
    "plan_section",
    "probes",
    "row_names",
    "secrets_of",
    "sections_of",
]

RESOURCES: tuple[Resource, ...] = (
    Hostname(),
    Hosts(),
    Selinux(),
    Sysctl(),
    SshKeys(),
    Sshd(),
    NftSection(FIREWALL.name),
    NftSection(NAT.name),
    Nmcli(),
    Packages(),
    Files(),
    Services(),
)
"""In the order they are applied, which is that of the registry of sections."""

SECTIONS = tuple(sorted(resource.section for resource in RESOURCES))
"""The valid names for ``--only``."""


class HostSpec(TypedDict):
    """What ``configure`` holds one host to.

    ``reboots`` = the guard's last resort is a reboot; ``behind`` = the hosts that are reached through it.
    """

    host: str
    reboots: bool
    sections: Mapping[str, Json]
    behind: NotRequired[Sequence[Behind]]


def host_spec(lab: Lab, host_name: str, held: Mapping[str, str] | None = None) -> HostSpec:
    """Return everything ``configure`` needs for one host, JSON-able; KeyError for an unknown host.

    ``held`` maps addresses that other hosts of the lab still have to the hosts that hold them.
    """
    host = lab.hosts[host_name]
    wanted = {resource.section: resource.desired(lab, host) for resource in RESOURCES}
    sections = {name: dict(want) for name, want in wanted.items() if want is not None}
    if held is not None and NMCLI.name in sections:
        sections[NMCLI.name]["held"] = held
    return {"host": host_name, "reboots": host.last_resort == "reboot", "sections": sections}


def _selected(spec: Json, only: Iterable[str]) -> Iterator[tuple[Resource, Json]]:
    asked = frozenset(only)
    for resource in RESOURCES:
        want = spec["sections"].get(resource.section)
        if want is not None and (not asked or resource.section in asked):
            yield resource, want


def sections_of(spec: Json) -> list[str]:
    """Return the sections that the file declares for this host, in the order they are applied."""
    return [resource.section for resource, _ in _selected(spec, ())]


def probes(spec: Json, only: Iterable[str] = ()) -> list[Probe]:
    """Return the probes of the requested sections; no ``only`` = all."""
    return [fact for resource, want in _selected(spec, only) for fact in resource.facts(want)]


def gather(spec: Json, only: Iterable[str], mark: str, also: Iterable[Probe] = ()) -> str:
    """Return the script that reads everything the requested sections compare; no ``only`` = all.

    It also reads the record of what was applied, the guard of a pending change, and the probes in ``also``.
    """
    return gather_script([*probes(spec, only), APPLIED, GUARD, *also], mark)


def plan_host(spec: Json, facts: Facts, only: Iterable[str] = ()) -> HostPlan:
    """Return what has to change on the host, as a pure function."""
    return HostPlan(
        spec["host"], tuple(plan_section(resource, want, facts) for resource, want in _selected(spec, only))
    )


def plan_section(resource: Resource, want: Json, facts: Facts) -> SectionPlan:
    """Return what one resource would change, with its secrets masked in all output."""
    plan = understood(resource.section, lambda: resource.plan(want, facts))
    secrets = Secrets.of((*want.get("secrets", ()), *plan.secrets))
    return _masked(plan, secrets) if secrets else plan


def secrets_of(spec: Json) -> Secrets:
    """Return the texts in the spec that must never be shown."""
    return Secrets.of(text for want in spec["sections"].values() for text in want.get("secrets", ()))


def _masked(plan: SectionPlan, secrets: Secrets) -> SectionPlan:
    """Return the plan with secrets masked in all output; what is applied, undone and compared keeps them."""
    items = tuple(
        replace(
            item,
            name=secrets.mask(item.name),
            refused=secrets.mask(item.refused),
            skipped=secrets.mask(item.skipped),
            left=secrets.mask(item.left),
            note=secrets.mask(item.note),
            by_hand=tuple(map(secrets.mask, item.by_hand)),
            words=Words(*map(secrets.mask, (item.expected, item.actual, item.diff or ""))),
        )
        for item in plan.items
    )
    return replace(plan, items=items, commands=tuple(map(secrets.mask, plan.commands)))


def explain(spec: Json, only: Iterable[str] = ()) -> list[str]:
    """Return the commands a person would type on the host to configure it from scratch.

    ``<secret>`` replaces each secret.
    """
    secrets = secrets_of(spec)
    return [secrets.mask(line) for resource, want in _selected(spec, only) for line in resource.explain(want)]


def row_names(spec: Json, only: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return (section, name) of every row that the spec produces, whether the host answers or not."""
    return [
        (resource.section, name) for resource, want in _selected(spec, only) for name in resource.names(want)
    ]
