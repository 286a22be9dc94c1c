"""`labrun list`: every lab on the hypervisors of this machine."""

from __future__ import annotations

from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, networks_of
from labrun.ownership import read_tag
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb
from labrun.runner.views.columns import listing
from labrun.tasks.provision.domains import state_of, tagged_domains

_URIS = ("lxc:///system", "qemu:///system")


@verb("list")
def command(invocation: Invocation) -> Report:
    """List the labs on this machine's hypervisors.

    Found by the tag that labrun's objects carry in libvirt; no lab file is needed.
    """
    labs: dict[str, dict[str, Any]] = {}
    errors: list[HypervisorError] = []
    for uri in _URIS:
        try:
            _look(uri, labs)
        except HypervisorError as error:
            errors.append(error)
    if len(errors) == len(_URIS):
        raise errors[0]
    found = [labs[name] for name in sorted(labs)]
    columns = ("lab", "machines", "running", "networks", "hypervisor")
    lines = [
        (
            entry["name"],
            str(len(entry["machines"])),
            str(sum(state == "running" for state in entry["machines"].values())),
            ", ".join(entry["networks"]) or "-",
            ", ".join(entry["hypervisors"]) or "-",
        )
        for entry in found
    ]
    text = (
        None
        if invocation.json
        else (listing(columns, lines, color=invocation.color) if lines else "no labs\n")
    )
    return Report(extra={"labs": found}, text=text)


def _look(uri: str, labs: dict[str, dict[str, Any]]) -> None:
    connection = connect(uri)

    def entry(name: str) -> dict[str, Any]:
        empty: dict[str, Any] = {"name": name, "machines": {}, "networks": [], "hypervisors": []}
        return labs.setdefault(name, empty)

    for domain, tag, _ in tagged_domains(connection):
        lab = entry(tag.lab)
        lab["machines"][tag.host] = state_of(domain)
        if uri not in lab["hypervisors"]:
            lab["hypervisors"].append(uri)
    for network, xml in networks_of(connection):
        owner = read_tag(xml)
        if owner is not None:
            lab = entry(owner.lab)
            name = owner.extra.get("network", network.name())
            if name not in lab["networks"]:
                lab["networks"].append(name)
