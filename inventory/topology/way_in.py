"""Whether the hypervisor has a way to a host by the lab file, and through which network: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from labrun.inventory.model import Host, Interface, Lab, Mode, Network

if TYPE_CHECKING:
    from labrun.inventory.topology.wiring import Version

__all__ = ["ALONGSIDE", "BEYOND", "NO_WAY", "WayIn", "distance", "way_in"]

ALONGSIDE: Final = 0
"""The hypervisor has an address on the network."""
BEYOND: Final = 1
"""The network is outside labrun's reach, a bridge or an existing one; the hypervisor may have a way to it."""
NO_WAY: Final = 2
"""The hypervisor and the guests of the network cannot exchange packets."""
_VERSIONS: tuple[Version, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class WayIn:
    """How the hypervisor gets to a host: the network and the IP versions that it can use there.

    ``nic`` is the name of the host's NIC there. Without a way, ``network`` is None and ``why`` says what
    stands against it, worded to follow the host's name and a colon.
    """

    network: str | None
    versions: tuple[Version, ...] = ()
    why: str = ""
    nic: str | None = None

    def __post_init__(self) -> None:
        if self.nic is None:
            object.__setattr__(self, "nic", self.network)


def distance(network: Network, version: int) -> int:
    """Return how far the hypervisor is from a network: ALONGSIDE, BEYOND or NO_WAY."""
    if network.hypervisor(version) is not None:
        return ALONGSIDE
    return BEYOND if network.mode is Mode.BRIDGE else NO_WAY


def way_in(lab: Lab, host: Host) -> WayIn:
    """Return the hypervisor's way to a host: the nearest of its networks.

    Of equal ones it is the first, but one whose address the file knows goes before one that needs a lease.
    An existing machine is reached at its ``address:``, which the file does not place on a network.
    """
    if host.address is not None:
        return WayIn(None, _VERSIONS)
    ranked = [(_rank(lab.networks[nic.network], nic), nic) for nic in host.interfaces]
    (nearest, _), chosen = min(ranked, key=lambda each: each[0], default=((NO_WAY, False), None))
    if chosen is None or nearest == NO_WAY:
        return WayIn(None, why=_why_none(lab, host))
    versions = (
        version
        for version in _VERSIONS
        if chosen.has(version) and distance(lab.networks[chosen.network], version) == nearest
    )
    return WayIn(chosen.network, tuple(versions), nic=chosen.name)


def _rank(network: Network, nic: Interface) -> tuple[int, bool]:
    """Return how far the hypervisor is from a NIC, and whether only a lease says where it answers."""
    far = {version: distance(network, version) for version in _VERSIONS if nic.has(version)}
    nearest = min(far.values(), default=NO_WAY)
    return nearest, all(nic.leases(version) for version, each in far.items() if each == nearest)


def _why_none(lab: Lab, host: Host) -> str:
    alone: list[str] = []
    apart: list[str] = []
    for nic in host.interfaces:
        network = lab.networks[nic.network]
        if not any(nic.has(version) for version in _VERSIONS):
            continue
        if network.mode is Mode.MACVTAP:
            apart.append(
                f"on {nic.network}, a macvtap network: hypervisor and guests cannot reach each other there"
            )
        elif network.is_served:
            own, its = (6, 4) if network.hypervisor4 is None else (4, 6)
            apart.append(f"on {nic.network} by IPv{its}, where the hypervisor has only IPv{own}")
        else:
            alone.append(nic.network)
    alone, apart = list(dict.fromkeys(alone)), list(dict.fromkeys(apart))
    if alone:
        apart.insert(0, f"on {_listed(alone)}, where the hypervisor has no address")
    return f"only {'; '.join(apart)}" if apart else "it has no address in the lab file"


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
