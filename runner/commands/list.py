"""`labrun list`: every lab on the hypervisors of this machine, and what no lab accounts for any more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from labrun.errors import HypervisorError, UsageError
from labrun.hypervisor import connect, networks_of, unless_gone
from labrun.ownership import read_tag
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.commands.completions import complete_lab_name
from labrun.runner.verb import verb
from labrun.runner.views.columns import listing
from labrun.state import LabState
from labrun.state_members import SEVERAL, noted_members
from labrun.tasks.provision.domains import state_of, tagged_domains
from labrun.tasks.provision.snapshot_store import FORKS, SNAPSHOTS

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

_URIS = ("lxc:///system", "qemu:///system")


@verb("list")
@click.option("--orphans", is_flag=True, help="List what has no lab file or no machine any more.")
@click.option("--remove", is_flag=True, help="Remove these; asks first, unless -y is given.")
@click.option("--name", metavar="LAB", shell_complete=complete_lab_name, help="Only the orphans of this lab.")
def command(invocation: Invocation, orphans: bool, remove: bool, name: str | None) -> Report:
    """List the labs on this machine's hypervisors.

    Found by the tag that labrun's objects carry in libvirt; no lab file is needed.
    """
    if (remove or name) and not orphans:
        raise UsageError("--remove and --name go with --orphans")
    if orphans:
        from labrun.runner.commands.orphans import orphans_report

        return orphans_report(invocation, name, remove=remove)
    by_name: dict[str, _Found] = {}
    errors: list[HypervisorError] = []
    for uri in _URIS:
        try:
            _look(uri, by_name)
        except HypervisorError as error:
            errors.append(error)
    if len(errors) == len(_URIS):
        raise errors[0]
    for lab in by_name.values():
        state = LabState.find(lab.name, SEVERAL, invocation.state_dir)
        others = noted_members(state).values() if state is not None else ()
        lab.hypervisors += [each.uri for each in others if each.uri not in lab.hypervisors]
    for copy in SNAPSHOTS.all():
        by_name.setdefault(copy.lab, _Found(copy.lab)).snapshots.append(copy.name)
    for copy in FORKS.all():
        by_name.setdefault(copy.lab, _Found(copy.lab)).forks.append(copy.name)
    labs = [by_name[name] for name in sorted(by_name)]
    columns = ("lab", "machines", "running", "networks", "snapshots", "forks", "hypervisor")
    lines = [
        (
            lab.name,
            str(len(lab.machines)),
            str(sum(state == "running" for state in lab.machines.values())),
            ", ".join(lab.networks) or "-",
            ", ".join(lab.snapshots) or "-",
            ", ".join(lab.forks) or "-",
            ", ".join(lab.hypervisors) or "-",
        )
        for lab in labs
    ]
    text = listing(columns, lines, color=invocation.color) if labs else "no labs\n"
    return Report(extra={"labs": [lab.as_json() for lab in labs]}, text=None if invocation.json else text)


@dataclass(slots=True)
class _Found:
    """What the hypervisors have of one lab; ``machines`` are the machines' states by host."""

    name: str
    machines: dict[str, str] = field(default_factory=dict)
    networks: list[str] = field(default_factory=list)
    hypervisors: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    forks: list[str] = field(default_factory=list)

    def as_json(self) -> JsonObject:
        return {
            "name": self.name,
            "machines": self.machines,
            "networks": self.networks,
            "snapshots": self.snapshots,
            "forks": self.forks,
            "hypervisors": self.hypervisors,
        }


def _look(uri: str, labs: dict[str, _Found]) -> None:
    """Add the machines and networks of one hypervisor."""
    connection = connect(uri)
    for domain, tag, _ in tagged_domains(connection):
        if not tag.fits(domain.name()):
            continue
        lab = labs.setdefault(tag.lab, _Found(tag.lab))
        with unless_gone():
            lab.machines[tag.host] = state_of(domain)
        if uri not in lab.hypervisors:
            lab.hypervisors.append(uri)
    for network, xml in networks_of(connection):
        owner = read_tag(xml)
        if owner is not None and owner.fits(network.name()):
            lab = labs.setdefault(owner.lab, _Found(owner.lab))
            name = owner.extra.get("network", network.name())
            if name not in lab.networks:
                lab.networks.append(name)
