"""The inventory in the formats of other tools: Nornir's files, Ansible, ssh_config, /etc/hosts, JSON."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from labrun.inventory.hosts.connections import OPTIONS, Access, access_of, connection_extras
from labrun.inventory.hosts.locate import Located
from labrun.inventory.hosts.plugin import PLATFORM, group_names, host_data
from labrun.inventory.hosts.ssh_command import jump_options, proxy_command, ssh_options, ssh_path, ssh_quoted
from labrun.inventory.hosts.yamltext import Unsafe, yaml_text
from labrun.inventory.model import Host, Lab
from labrun.state import LabState

if TYPE_CHECKING:
    from labrun.json_values import JsonObject, JsonValue

__all__ = ["FORMATS", "export", "nornir_files"]

# A reserved top-level domain that never resolves: a host without an address must not be looked up by name.
_NOWHERE = "invalid"
_SSH_HARD = re.compile(r'[%"\\]')
_TEMPLATE = re.compile(r"\{[{%#]")

_Locations = Mapping[str, Located]


def export(lab: Lab, located: _Locations, state: LabState | None, format_: str) -> str:
    """Return the whole inventory as text in one of :data:`FORMATS`.

    ``nornir`` is a self-contained hosts.yaml: groups are in ``data.labrun.groups``; see
    :func:`nornir_files` for the set of three.
    """
    return FORMATS[format_](lab, located, state)


def nornir_files(lab: Lab, located: _Locations, state: LabState | None) -> Mapping[str, str]:
    """Return ``hosts.yaml``, ``groups.yaml`` and ``defaults.yaml`` for Nornir's SimpleInventory."""
    hosts = _nornir_hosts(lab, located, state, with_groups=True)
    groups: JsonObject = {name: {} for host in lab.hosts.values() for name in group_names(lab, host)}
    return {
        "hosts.yaml": yaml_text(hosts),
        "groups.yaml": yaml_text(groups),
        "defaults.yaml": yaml_text({"platform": PLATFORM}),
    }


def _nornir(lab: Lab, located: _Locations, state: LabState | None) -> str:
    return yaml_text(_nornir_hosts(lab, located, state, with_groups=False))


def _nornir_hosts(lab: Lab, located: _Locations, state: LabState | None, *, with_groups: bool) -> JsonObject:
    hosts: dict[str, JsonValue] = {}
    for host in lab.hosts.values():
        access = access_of(lab, host, state)
        extras = connection_extras(access, made_by_labrun=host.machine is not None)
        where = located[host.name]
        jump = jump_options(lab, host, located, state)
        data: dict[str, JsonValue] = {"labrun": host_data(lab, host, where)}
        if where.address is None:
            data["labrun_unreachable"] = where.reason
        hosts[host.name] = {
            "hostname": where.address,
            "port": access.port,
            "username": access.user,
            "platform": PLATFORM,
            **({"groups": list(group_names(lab, host))} if with_groups else {}),
            "data": data,
            "connection_options": {
                name: {"extras": {**options, **(jump if name == OPTIONS else {})}}
                for name, options in extras.items()
            },
        }
    return hosts


def _ansible(lab: Lab, located: _Locations, state: LabState | None) -> str:
    groups = [name for host in lab.hosts.values() for name in group_names(lab, host)]
    names = _ansible_names(lab.hosts, groups)
    hosts: dict[str, JsonValue] = {}
    members: dict[str, list[str]] = {}
    for host in lab.hosts.values():
        proxy = proxy_command(lab, host, located, state)
        hosts[host.name] = _ansible_host(lab, host, located[host.name], access_of(lab, host, state), proxy)
        for name in group_names(lab, host):
            members.setdefault(names[name], []).append(host.name)
        if located[host.name].address is None:
            members.setdefault("labrun_unreachable", []).append(host.name)
    children: JsonObject = {
        group: {"hosts": {name: {} for name in its_hosts}} for group, its_hosts in members.items()
    }
    return yaml_text({"all": {"hosts": hosts, "children": children}})


def _ansible_names(hosts: Iterable[str], groups: Iterable[str]) -> Mapping[str, str]:
    """Return a valid and unique name for each group: Ansible allows letters, digits and underscores.

    None of them is a host's: Ansible has one space of names for both.
    """
    taken = {"all", "ungrouped", "labrun_unreachable", *hosts}
    names: dict[str, str] = {}
    for group in dict.fromkeys(groups):
        base = re.sub(r"\W", "_", group, flags=re.ASCII)
        base = f"_{base}" if base[:1].isdigit() else base
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names[group] = name
    return names


def _ansible_host(lab: Lab, host: Host, where: Located, access: Access, proxy: str | None) -> JsonObject:
    settings: dict[str, JsonValue] = {
        "ansible_host": where.address or f"{host.name}.{_NOWHERE}",
        "ansible_port": access.port,
        "ansible_connection": "ssh",
        "ansible_python_interpreter": "auto_silent",
    }
    if access.user is not None:
        settings["ansible_user"] = access.user
    # Paths inside are quoted for ssh_config, the whole option for a shell.
    options = [f"{keyword}={value}" for keyword, value in ssh_options(host, access)]
    if proxy is not None:
        options.append(f"ProxyCommand={proxy}")
    if access.identity is not None:
        if _SSH_HARD.search(access.identity):
            # Ansible copies the key's path into its option without escaping ssh's special characters.
            options.append(f"IdentityFile={ssh_path(access.identity)}")
        else:
            settings["ansible_ssh_private_key_file"] = access.identity
    arguments = ["-F", "none"] if host.machine is not None else []
    settings["ansible_ssh_common_args"] = shlex.join(
        arguments + [part for option in options for part in ("-o", option)]
    )
    if where.address is None:
        settings["labrun_unreachable"] = where.reason
    settings["labrun"] = host_data(lab, host, where)
    return {key: _untemplated(value) for key, value in settings.items()}


def _untemplated(value: JsonValue) -> JsonValue:
    """Return the value with each text that Ansible would take for a template marked as unsafe."""
    if isinstance(value, dict):
        return {key: _untemplated(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_untemplated(member) for member in value]
    return Unsafe(value) if isinstance(value, str) and _TEMPLATE.search(value) else value


def _ssh_config(lab: Lab, located: _Locations, state: LabState | None) -> str:
    blocks = [f"# {lab.name}: ssh -F THIS-FILE HOST\n"]
    for host in lab.hosts.values():
        where, access = located[host.name], access_of(lab, host, state)
        lines = [f"# {host.name}: {where.reason}"] if where.address is None else []
        lines.append(f"Host {host.name} {lab.libvirt_name(host.name)}")
        settings = [
            ("HostName", where.address or f"{host.name}.{_NOWHERE}"),
            ("Port", str(access.port)),
            *([("User", ssh_quoted(access.user))] if access.user is not None else []),
            *([("IdentityFile", ssh_path(access.identity))] if access.identity is not None else []),
            *ssh_options(host, access),
            *_first_hops(lab, where),
        ]
        lines += [f"    {keyword} {value}" for keyword, value in settings]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _first_hops(lab: Lab, where: Located) -> Iterator[tuple[str, str]]:
    if where.through:
        yield "ProxyJump", lab.libvirt_name(where.through[-1])
    elif where.hypervisor is not None:
        # Not ProxyJump: that would not read ~/.ssh/config, which says how to log in to the hypervisor.
        yield "ProxyCommand", where.hypervisor.proxy_command()


def _etc_hosts(lab: Lab, located: _Locations, state: LabState | None) -> str:
    """Return one line per address; the bare name goes with the address that labrun uses."""
    lines = [f"# {lab.name}"]
    for name in lab.hosts:
        where = located[name]
        for held in (*where.found, *where.also):
            full = f"{name}.{held.nic}"
            names = f"{name} {full}" if held.nic == where.nic else full
            lines.append(f"{held.address}\t{names}")
        if where.address is None:
            lines.append(f"# {name}: {where.reason}")
        elif where.network is None:
            lines.append(_existing(name, where.address))
    return "\n".join(lines) + "\n"


def _existing(name: str, address: str) -> str:
    is_number = re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", address)
    return f"{address}\t{name}" if is_number else f"# {name}: answers as {address}"


def _json(lab: Lab, located: _Locations, state: LabState | None) -> str:
    groups: dict[str, list[str]] = {}
    hosts = []
    for host in lab.hosts.values():
        where, access = located[host.name], access_of(lab, host, state)
        for name in group_names(lab, host):
            groups.setdefault(name, []).append(host.name)
        hosts.append(
            {
                "name": host.name,
                "address": where.address,
                "address_source": where.source,
                "address_network": where.nic,
                "through": list(where.hops),
                "unreachable": where.reason,
                "addresses": {
                    held.nic: {"address": str(held.address), "source": held.source} for held in where.found
                },
                "also": [{"network": each.nic, "address": str(each.address)} for each in where.also],
                "missing": dict(where.missing),
                "user": access.user,
                "port": access.port,
                "identity": access.identity,
                "known_hosts": access.known_hosts,
                "host_key_alias": access.alias,
                "role": host.role.value,
                "groups": list(group_names(lab, host)),
                "macs": {nic.name: nic.mac for nic in host.interfaces if nic.mac},
            }
        )
    return json.dumps({"schema": 1, "lab": lab.name, "groups": groups, "hosts": hosts}, indent=2) + "\n"


FORMATS: Mapping[str, Callable[[Lab, _Locations, LabState | None], str]] = {
    "nornir": _nornir,
    "ansible": _ansible,
    "ssh-config": _ssh_config,
    "hosts": _etc_hosts,
    "json": _json,
}
