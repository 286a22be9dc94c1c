"""The tunnels by which a network of the lab spans its hypervisors: pure.

Each hypervisor has one VXLAN device per network, as a port of the network's bridge. It learns nothing: which
MAC is behind which peer follows from where the hosts are. What no host's NIC has, and broadcasts, go to every
peer, and a device does not send what came from a peer to another, so the full mesh has no loops.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from labrun.inventory.model import Lab
from labrun.inventory.topology.parts import spanned
from labrun.inventory.topology.placement import Placement

__all__ = ["OVERHEAD", "PORT", "Tunnel", "device_of", "tunnels_of", "vni_of"]

PORT: Final = 14789
"""The UDP port. Networks between machines often filter or rewrite VXLAN's own, 4789."""
OVERHEAD: Final[Mapping[int, int]] = {4: 50, 6: 70}
"""Bytes of a packet between hypervisors that are not the inner packet's, by its IP version."""

_Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The end of a network's tunnel on one hypervisor.

    ``local`` is its own address, ``peers`` are the others' by name. ``macs`` has, of each NIC that is
    elsewhere, the address behind which it is. ``mtu`` None = it is not known yet.
    """

    network: str
    vni: int
    local: _Address
    peers: Mapping[str, _Address]
    macs: Mapping[str, _Address]
    mtu: int | None

    @property
    def device(self) -> str:
        """Return the device's name, the same on every hypervisor."""
        return _device(self.vni)


def vni_of(lab: str, network: str) -> int:
    """Return the VXLAN network identifier, 1 to 16,777,215: a hash, so that labs do not meet."""
    digest = hashlib.sha256(f"{lab}/{network}".encode()).digest()
    return int.from_bytes(digest[:3], "big") or 1


def device_of(lab: str, network: str) -> str:
    """Return the name that the ends of a network's tunnel have."""
    return _device(vni_of(lab, network))


def _device(vni: int) -> str:
    return f"lrv{vni:06x}"


def tunnels_of(lab: Lab, placement: Placement, hypervisor: str) -> Iterator[Tunnel]:
    """Yield the ends of tunnels on one hypervisor, in file order."""
    own = lab.hypervisors[hypervisor].tunnel
    for name, members in spanned(lab, placement).items():
        if hypervisor not in members or own is None:
            continue
        peers = {
            each: tunnel
            for each in members
            if each != hypervisor and (tunnel := lab.hypervisors[each].tunnel) is not None
        }
        macs = {
            nic.mac: peers[where]
            for host, nic in lab.members(name)
            if host.name in placement.places and (where := placement.places[host.name].hypervisor) in peers
        }
        yield Tunnel(name, vni_of(lab.name, name), own, peers, macs, lab.networks[name].mtu)
