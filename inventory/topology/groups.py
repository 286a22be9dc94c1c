"""What ``@group`` can stand for: the whole lab, a role, a network or a group from the file."""

from __future__ import annotations

from collections.abc import Mapping

from labrun.inventory.model import Lab

__all__ = ["group_members"]


def group_members(lab: Lab) -> Mapping[str, tuple[str, ...]]:
    """Return the hosts of every group in file order: the whole lab, roles, networks and the file's groups."""
    members_of: dict[str, set[str]] = {lab.name: set(lab.hosts)}
    for host in lab.hosts.values():
        for group in (host.role.value, *(nic.network for nic in host.interfaces)):
            members_of.setdefault(group, set()).add(host.name)
    for name, members in lab.groups.items():
        members_of.setdefault(name, set()).update(members)
    return {name: tuple(host for host in lab.hosts if host in hosts) for name, hosts in members_of.items()}
