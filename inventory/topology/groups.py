"""What ``@group`` can mean: the lab itself, roles, networks and the file's own groups."""

from __future__ import annotations

from collections.abc import Mapping

from labrun.inventory.model import Lab

__all__ = ["group_members"]


def group_members(lab: Lab) -> Mapping[str, tuple[str, ...]]:
    """Return every group's hosts in file order: the lab itself, roles, networks, the file's groups."""
    found: dict[str, set[str]] = {lab.name: set(lab.hosts)}
    for host in lab.hosts.values():
        for group in (host.role.value, *(nic.network for nic in host.interfaces)):
            found.setdefault(group, set()).add(host.name)
    for name, members in lab.groups.items():
        found.setdefault(name, set()).update(members)
    return {name: tuple(host for host in lab.hosts if host in hosts) for name, hosts in found.items()}
