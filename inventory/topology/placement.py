"""On which of its hypervisors each machine of a lab is: pure.

What the file says comes first, then where a machine is already. The others go where room is left: hosts of
one redundancy group together if they fit, the largest first, each to the hypervisor with the most memory left
for its weight.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from labrun.inventory.model import Host, Lab, Network

__all__ = ["Place", "Placement", "place_hosts", "span_fault"]

_LEAST_MTU6 = 1280
_OVERHEAD = {4: 50, 6: 70}


@dataclass(frozen=True, slots=True)
class Place:
    """The hypervisor of a host by name, and for the user the reason."""

    hypervisor: str
    why: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the machines of a lab are to be, in file order.

    ``homeless`` has the hosts that fit nowhere, with the reason; ``moved`` those that are on another
    hypervisor than the file says, with the name of that one.
    """

    places: Mapping[str, Place]
    homeless: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    moved: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def on(self, hypervisor: str) -> tuple[str, ...]:
        """Return the hosts there."""
        return tuple(host for host, place in self.places.items() if place.hypervisor == hypervisor)

    def of_network(self, lab: Lab, network: str) -> tuple[str, ...]:
        """Return the hypervisors with hosts on a network, in file order; the first one is its home."""
        used = {
            self.places[host.name].hypervisor for host, _ in lab.members(network) if host.name in self.places
        }
        return tuple(name for name in lab.hypervisors if name in used)


def place_hosts(lab: Lab, there: Mapping[str, str], memory: Mapping[str, int]) -> Placement:
    """Return where each machine of the lab is to be.

    ``there`` has the hypervisor where a machine is already, by host; ``memory`` the MiB of each hypervisor,
    and not those that do not answer: they keep what they have and get nothing new.
    """
    machines = [host for host in lab.hosts.values() if host.machine is not None]
    found: dict[str, Place] = {}
    moved: dict[str, str] = {}
    left = {name: memory[name] for name in lab.hypervisors if name in memory}
    for host in machines:
        if host.hypervisor is not None:
            found[host.name] = Place(host.hypervisor, "set in the lab file")
            if there.get(host.name, host.hypervisor) != host.hypervisor:
                moved[host.name] = there[host.name]
        elif host.name in there and there[host.name] in lab.hypervisors:
            found[host.name] = Place(there[host.name], "it is already there")
        else:
            continue
        where = found[host.name].hypervisor
        if where in left:
            left[where] -= _memory(host)
    homeless: dict[str, str] = {}
    groups: dict[str, list[Host]] = {}
    for host in machines:
        if host.name not in found:
            groups.setdefault(host.redundancy or f"-{host.name}", []).append(host)
    # The largest first: small ones fit into what is left. Of equal ones, the first in the file.
    for members in sorted(groups.values(), key=lambda group: -sum(map(_memory, group))):
        group = members[0].redundancy
        first = next((found[each].hypervisor for each in _of_group(lab, group) if each in found), None)
        whole = _roomiest(lab, left, members, first)
        for host in members:
            chosen = whole or _roomiest(lab, left, [host], first)
            if chosen is None:
                homeless[host.name] = _no_room(host, left)
                continue
            left[chosen] -= _memory(host)
            why = "most memory left for its weight"
            if group is not None and whole is not None and len(_of_group(lab, group)) > 1:
                why = f"with the redundancy group {group}"
            found[host.name] = Place(chosen, why)
    return Placement(
        MappingProxyType({host.name: found[host.name] for host in machines if host.name in found}),
        MappingProxyType(homeless),
        MappingProxyType(moved),
    )


def span_fault(lab: Lab, network: Network, hypervisors: Collection[str]) -> tuple[str, str] | None:
    """Return why a network cannot span these hypervisors, and a hint; None if it can, or need not."""
    members = [each for name, each in lab.hypervisors.items() if name in hypervisors]
    if len(members) < 2 or network.vlan is not None:
        return None
    names = ", ".join(each.name for each in members)
    if network.is_beyond:
        what = f"it would be on {names}, and {network.mode} leads to a device of one hypervisor"
        return what, "give its hosts the same `hypervisor:`"
    without = [each.name for each in members if each.tunnel is None]
    if without:
        what = f"the network spans {names}, and {' and '.join(without)} has no tunnel"
        return what, f"hypervisors.{without[0]}.tunnel is its address for the others"
    tunnels = [each.tunnel for each in members if each.tunnel is not None]
    versions = {each.version for each in tunnels}
    if len(versions) > 1:
        return f"the network spans {names}, whose tunnels are of different IP versions", "use one version"
    over = _OVERHEAD[versions.pop()]
    if network.mtu is not None and network.cidr6 is not None and network.mtu < _LEAST_MTU6:
        return f"IPv6 needs an MTU of {_LEAST_MTU6}, and the network has {network.mtu}", "remove cidr6"
    if network.mtu is not None and network.mtu > 9000 - over:
        return f"an MTU of {network.mtu} leaves no room for the tunnel's {over} bytes", "at most 8930"
    return None


def _memory(host: Host) -> int:
    return host.machine.memory if host.machine is not None else 0


def _of_group(lab: Lab, group: str | None) -> list[str]:
    return [host.name for host in lab.hosts.values() if group is not None and host.redundancy == group]


def _roomiest(lab: Lab, left: Mapping[str, int], hosts: list[Host], first: str | None) -> str | None:
    """Return the hypervisor with room for all of ``hosts``: ``first`` if it can, else the roomiest."""
    needed = sum(map(_memory, hosts))
    fitting = [name for name, memory in left.items() if memory >= needed]
    if first in fitting:
        return first
    return max(fitting, key=lambda name: left[name] * lab.hypervisors[name].weight, default=None)


def _no_room(host: Host, left: Mapping[str, int]) -> str:
    if not left:
        return f"no hypervisor answers that could take its {_memory(host)} MiB"
    rest = ", ".join(f"{name} has {max(memory, 0)}" for name, memory in left.items())
    return f"it needs {_memory(host)} MiB, and {rest} left"
