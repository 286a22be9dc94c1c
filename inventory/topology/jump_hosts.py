"""Through which host of the lab labrun reaches one that the hypervisor cannot reach: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

from labrun.inventory.model import Address, Host, Interface, Lab, Role
from labrun.inventory.sshd_ports import login_port
from labrun.inventory.topology.way_in import WayIn, way_in

if TYPE_CHECKING:
    from labrun.inventory.topology.wiring import Version

__all__ = [
    "Jump",
    "carried_to",
    "declared_jump",
    "entrance",
    "forbids_jumps",
    "jump_chain",
    "jump_hosts",
    "jumps",
    "no_login",
]

_VERSIONS: tuple[Version, ...] = (4, 6)
_LETS_THROUGH = ("yes", "all", "local")


@dataclass(frozen=True, slots=True)
class Jump:
    """The login to a host leads over ``via``, which connects to its NIC ``nic`` on ``network``.

    Both are None if only the host's ``address:`` says where that is. ``client`` is the jump host's own
    address there, None if the file does not know it.
    """

    via: str
    network: str | None
    versions: tuple[Version, ...]
    client: Address | None = None
    nic: str | None = None

    def __post_init__(self) -> None:
        if self.nic is None:
            object.__setattr__(self, "nic", self.network)


def jumps(lab: Lab) -> Mapping[str, Jump]:
    """Return how each host is reached that is not reached directly, in the order of their distance.

    ``access: {via}`` decides where the file has it. Otherwise it is the way with the fewest hosts in between,
    each of which shares a network with the next one, so that it works before anything forwards; of equal
    ones a router goes first, then the order of the file.
    """
    return _jumps(_Same(lab))


def jump_chain(lab: Lab, host: str) -> tuple[str, ...]:
    """Return the jump hosts on the way to a host, the first one that is dialled first; usually none."""
    found = jumps(lab)
    chain: list[str] = []
    while (jump := found.get(host)) is not None:
        host = jump.via
        chain.insert(0, host)
    return tuple(chain)


def jump_hosts(lab: Lab) -> frozenset[str]:
    """Return the hosts through which others are reached."""
    return frozenset(jump.via for jump in jumps(lab).values())


def carried_to(lab: Lab, host: str) -> frozenset[str]:
    """Return who carries the last stretch of the login to a host: its jump host, and routers after that."""
    jump = jumps(lab).get(host)
    if jump is None:
        return frozenset()
    if jump.network is None or lab.hosts[jump.via].nics_on(jump.network):
        return frozenset({jump.via})
    from labrun.inventory.topology.paths import paths

    ways = (paths(lab, version).path(jump.via, host).way for version in jump.versions)
    return frozenset({jump.via}).union(*((*way.through, *way.back) for way in ways))


def entrance(lab: Lab, host: Host) -> WayIn:
    """Return through which of its networks a host is logged in to: by the hypervisor or its jump host."""
    jump = jumps(lab).get(host.name)
    if jump is not None:
        return WayIn(jump.network, jump.versions, nic=jump.nic)
    if host.access_via is not None:
        return WayIn(None, why=f"it is reached through {host.access_via}, which cannot be reached")
    way = way_in(lab, host)
    return WayIn(None, why=f"{way.why}{_no_jump(lab, host)}") if way.why else way


def no_login(lab: Lab, name: str) -> str:
    """Return why, by the lab file, a host cannot be logged in to, as a whole sentence; empty if it can."""
    why = entrance(lab, lab.hosts[name]).why
    return f"the hypervisor has no way to {name}: {why}" if why else ""


def _no_jump(lab: Lab, host: Host) -> str:
    """Return what forbids the hosts beside it to be jump hosts; empty if there are none that could."""
    beside = (each for each in lab.hosts.values() if each is not host and _can_begin(lab, each.name))
    for each in beside:
        forbidden = forbids_jumps(each)
        if forbidden is not None and next(_beside(lab, host.name, each.name), None) is not None:
            return f"; {each.name} could be its jump host, but its sshd has {forbidden}"
    return ""


def _can_begin(lab: Lab, name: str) -> bool:
    host = lab.hosts[name]
    return name in jumps(lab) or (host.access_via is None and not way_in(lab, host).why)


def forbids_jumps(host: Host) -> str | None:
    """Return the sshd setting of the file that forbids labrun to go on from a host, None if there is none."""
    if host.sshd is None:
        return None
    said = {keyword.lower(): values for keyword, values in host.sshd.items()}
    forwarding_ = _first(said, "allowtcpforwarding")
    if forwarding_ is not None:
        return None if forwarding_ in _LETS_THROUGH else f"AllowTcpForwarding {forwarding_}"
    if _first(said, "disableforwarding") == "yes":
        return "DisableForwarding yes"
    return "profile host" if host.sshd_profile == "host" else None


def _first(said: Mapping[str, tuple[str, ...]], keyword: str) -> str | None:
    words = (word.strip('"').lower() for value in said.get(keyword, ()) for word in value.split())
    return next(words, None)


@dataclass(frozen=True, slots=True)
class _Same:
    """A lab as a cache key, compared by identity."""

    lab: Lab

    def __hash__(self) -> int:
        return id(self.lab)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.lab is self.lab


@lru_cache(maxsize=8)
def _jumps(key: _Same) -> Mapping[str, Jump]:
    lab = key.lab
    reached = [
        name for name, host in lab.hosts.items() if host.access_via is None and not way_in(lab, host).why
    ]
    within = set(reached)
    left = [name for name in lab.hosts if name not in within]
    found: dict[str, Jump] = {}
    while left:
        # Of those that are reached by now, nobody's way can be shorter than through these.
        routers_first = sorted(reached, key=lambda each: lab.hosts[each].role is not Role.ROUTER)
        able = [each for each in routers_first if forbids_jumps(lab.hosts[each]) is None]
        beside = _by_network(lab, able)
        new = {name: jump for name in left if (jump := _through(lab, name, within, beside)) is not None}
        if not new:
            break
        found |= new
        reached += new
        within |= new.keys()
        left = [name for name in left if name not in new]
    return MappingProxyType(found)


def _by_network(lab: Lab, names: list[str]) -> Mapping[str, dict[str, int]]:
    """Return the hosts on each network, in the order of ``names``, with their places there."""
    found: dict[str, dict[str, int]] = {}
    for place, name in enumerate(names):
        for nic in lab.hosts[name].interfaces:
            found.setdefault(nic.network, {})[name] = place
    return found


def _through(
    lab: Lab, name: str, reached: Collection[str], candidates: Mapping[str, Mapping[str, int]]
) -> Jump | None:
    """Return the first of the candidates, which are given by network, through which a host is reached."""
    host = lab.hosts[name]
    if host.access_via is not None:
        return declared_jump(lab, name, host.access_via) if host.access_via in reached else None
    beside = [candidates.get(nic.network, {}) for nic in host.interfaces]
    # Only those on a network of its own can lead there. One network's are in order already.
    places = beside[0] if len(beside) == 1 else dict(sorted(_merged(beside).items(), key=itemgetter(1)))
    return next((jump for each in places for jump in _beside(lab, name, each)), None)


def _merged(mappings: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    return {name: place for mapping in mappings for name, place in mapping.items()}


def declared_jump(lab: Lab, name: str, via: str) -> Jump | None:
    """Return how a host is reached through the one that the file names, None if no path leads there."""
    if lab.hosts[name].address is not None:
        return Jump(via, None, _VERSIONS)
    beside = next(_beside(lab, name, via, through_filters=True), None)
    return beside or next(_beyond(lab, name, via), None)


def _beside(lab: Lab, name: str, via: str, *, through_filters: bool = False) -> Iterator[Jump]:
    """Yield the networks that both hosts are on, in the host's order, and where a login gets across."""
    host, jump = lab.hosts[name], lab.hosts[via]
    for nic in host.interfaces:
        others = jump.nics_on(nic.network)
        versions = tuple(v for v in _VERSIONS if nic.has(v) and any(other.has(v) for other in others))
        if not through_filters:
            versions = tuple(v for v in versions if _passes(lab, host, via, nic, v))
        if versions:
            own = next((each.ip for v in versions for other in others for each in other.of(v)), None)
            yield Jump(via, nic.network, versions, own, nic.name)


def _passes(lab: Lab, host: Host, via: str, own: Interface, version: Version) -> bool:
    """Tell whether the file's firewalls and filters let a login through; where it cannot tell, they do."""
    nics = (*host.nics_on(own.network), *lab.hosts[via].nics_on(own.network))
    if host.firewall is None and all(nic.filter is None for nic in nics):
        return True
    # In most labs no firewall stands between a host and its jump host, or there is none.
    from labrun.inventory.topology.reach import Connection, reach
    from labrun.inventory.topology.wiring import wiring

    there = next((each for each in wiring(lab, version).of[host.name] if each.name == own.name), None)
    if there is None:
        return True
    verdict = reach(lab, Connection(via, there.address, login_port(host.sshd or {})))
    return verdict is None or verdict.passes


def _beyond(lab: Lab, name: str, via: str) -> Iterator[Jump]:
    """Yield the host's NIC to which routers lead from the jump host, by IP version."""
    host = lab.hosts[name]
    if not lab.hosts[via].interfaces:
        # An existing machine outside the lab's networks; where it gets to, only its owner knows.
        nics = (nic for nic in host.interfaces if nic.has(4) or nic.has(6))
        for nic in nics:
            yield Jump(via, nic.network, tuple(v for v in _VERSIONS if nic.has(v)), None, nic.name)
        return
    from labrun.inventory.topology.forwarding import forwarding
    from labrun.inventory.topology.paths import paths
    from labrun.inventory.topology.wiring import wiring

    for version in _VERSIONS:
        path = paths(lab, version).path(via, name)
        if path.address is None or path.fault is not None:
            continue
        there = next(each for each in wiring(lab, version).of[name] if each.address == path.address)
        own = forwarding(lab, version).sends_from(via, path.address)
        yield Jump(via, there.network, (version,), own.address if own is not None else None, there.name)
