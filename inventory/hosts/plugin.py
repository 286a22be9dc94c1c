"""The lab as a Nornir inventory, for labrun's tasks and for any ``InitNornir``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nornir.core.inventory import (
    ConnectionOptions,
    Defaults,
    Group,
    Groups,
    Hosts,
    Inventory,
    ParentGroups,
)
from nornir.core.inventory import Host as NornirHost

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, networks_of, translated
from labrun.hypervisor_uri import asked_hypervisor, is_plain
from labrun.inventory.file.source import find_lab_file
from labrun.inventory.hosts.connections import OPTIONS, WANTED_PORT, access_of, connection_extras
from labrun.inventory.hosts.leases import LibvirtLeases
from labrun.inventory.hosts.locate import Located, locate
from labrun.inventory.hosts.ssh_command import jump_options
from labrun.inventory.model import Host, Lab
from labrun.ownership import read_tag
from labrun.state import LabState

if TYPE_CHECKING:
    from labrun.json_values import JsonObject, JsonValue

__all__ = ["PLATFORM", "LabInventory", "group_names", "host_data", "inventory_of"]

PLATFORM = "linux"
_LOCAL_URIS = ("lxc:///system", "qemu:///system")


class LabInventory:
    """Nornir's inventory plugin ``labrun``; options as in ``InitNornir(inventory={"options": ...})``.

    ``lab_file`` defaults to the lab.yaml of the current directory or its parents, ``state_dir`` to the
    user's. ``hypervisor`` (or ``LABRUN_HYPERVISOR``) is a libvirt URI that overrides the file's; an empty
    string queries none, so only addresses from the file are known and the lab's key is not set.
    ``allow_outside`` is the command line's ``--allow-outside``.
    """

    def __init__(
        self,
        lab_file: str | Path | None = None,
        state_dir: str | Path | None = None,
        hypervisor: str | None = None,
        allow_outside: bool = False,
    ):
        self.lab_file = Path(lab_file) if lab_file is not None else None
        self.state_dir = Path(state_dir) if state_dir is not None else None
        self.hypervisor = hypervisor
        self.allow_outside = allow_outside

    def load(self) -> Inventory:
        """Read the lab file, query the hypervisor for leases and return the inventory."""
        from labrun.inventory.file.load import load_lab

        lab = load_lab(self.lab_file or find_lab_file(Path.cwd()), allow_outside=self.allow_outside)
        if lab.hypervisors and self.hypervisor is None:
            raise HypervisorError(
                "the lab is over several hypervisors, and this plugin asks one",
                step="inventory",
                hint="`labrun inventory --format nornir --output DIR` writes where the hosts are",
            )
        uri = self.hypervisor
        if uri is None:
            uri = (asked_hypervisor() or _home_of(lab)) if lab.needs_hypervisor else ""
        located = locate(lab, LibvirtLeases(uri) if uri else None, uri)
        # The lab's state directory depends on the hypervisor.
        state = LabState.open(lab.name, uri, self.state_dir) if uri else None
        return inventory_of(lab, located, state)


def _home_of(lab: Lab) -> str:
    """Return the URI the lab lives on. Raises HypervisorError if it was never brought up."""
    if lab.hypervisor != "auto":
        return lab.hypervisor
    failures: list[HypervisorError] = []
    for uri in _LOCAL_URIS:
        try:
            with translated("inventory"):
                for _, xml in networks_of(connect(uri)):
                    tag = read_tag(xml)
                    if tag is not None and tag.lab == lab.name:
                        home = tag.extra.get("hypervisor", uri)
                        return home if is_plain(home) else uri
        except HypervisorError as error:
            failures.append(error)
    if len(failures) == len(_LOCAL_URIS):
        reasons = "; ".join(error.reason for error in failures)
        raise HypervisorError(reasons, step="inventory", hint=failures[-1].hint)
    raise HypervisorError(
        f"no network of the lab {lab.name} is on this machine",
        step="inventory",
        hint="`labrun up` makes it; the option `hypervisor` names another libvirt URI",
    )


def group_names(lab: Lab, host: Host) -> tuple[str, ...]:
    """Return a host's groups: the file's, its role, its networks, the lab."""
    networks = dict.fromkeys(nic.network for nic in host.interfaces)
    return tuple(dict.fromkeys((*host.groups, host.role.value, *networks, lab.name)))


def host_data(lab: Lab, host: Host, located: Located) -> JsonObject:
    """Return the host data for tasks and templates, as plain JSON-able values."""
    return {
        "lab": lab.name,
        "role": host.role.value,
        "addresses": {nic: str(address) for nic, address in located.addresses.items()},
        "address_source": located.source,
        "address_network": located.nic,
        "networks": list(dict.fromkeys(nic.network for nic in host.interfaces)),
        "macs": {nic.name: nic.mac for nic in host.interfaces if nic.mac},
        "groups": list(group_names(lab, host)),
        "domain": lab.libvirt_name(host.name) if host.machine is not None else None,
    }


def inventory_of(lab: Lab, located: Mapping[str, Located], state: LabState | None) -> Inventory:
    """Return the Nornir inventory of all hosts, including those without an address.

    The ``hostname`` of such a host is None, and ``data["labrun_unreachable"]`` holds the reason.
    """
    groups = Groups()
    hosts = Hosts()
    defaults = Defaults(platform=PLATFORM)
    for host in lab.hosts.values():
        members = ParentGroups()
        for name in group_names(lab, host):
            members.append(groups.setdefault(name, Group(name=name, defaults=defaults)))
        jump = jump_options(lab, host, located, state)
        hosts[host.name] = _host(lab, host, located[host.name], state, members, defaults, jump)
    return Inventory(hosts=hosts, groups=groups, defaults=defaults)


def _host(
    lab: Lab,
    host: Host,
    located: Located,
    state: LabState | None,
    groups: ParentGroups,
    defaults: Defaults,
    jump: JsonObject,
) -> NornirHost:
    access = access_of(lab, host, state)
    extras = connection_extras(access, made_by_labrun=host.machine is not None)
    data: dict[str, JsonValue] = {"labrun": host_data(lab, host, located)}
    if access.wanted not in (None, access.port):
        data[WANTED_PORT] = access.wanted
    if located.address is None:
        data["labrun_unreachable"] = located.reason or "it has no address"
    return NornirHost(
        name=host.name,
        hostname=located.address,
        port=access.port,
        username=access.user,
        platform=PLATFORM,
        groups=groups,
        data=data,
        connection_options={
            name: ConnectionOptions(extras={**options, **(jump if name == OPTIONS else {})})
            for name, options in extras.items()
        },
        defaults=defaults,
    )
