"""The ways between a lab's hypervisors: whether a tunnel can begin there, and how large packets may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labrun.inventory.topology.tunnels import OVERHEAD, Tunnel
from labrun.tasks.guest.scripts import assigned, hypervisor_script
from labrun.tasks.provision.hypervisor_shell import run_as_root

__all__ = ["TunnelPath", "look_at_paths", "tunnel_faults"]

_HEADERS = {4: 28, 6: 48}
_LEAST_MTU6 = 1280


@dataclass(frozen=True, slots=True)
class TunnelPath:
    """What a hypervisor says of the ways to its peers.

    ``largest`` has, by the peer's address, the bytes of the largest IP packet that gets there unfragmented, 0
    for none.
    """

    has_address: bool
    has_vxlan: bool
    has_ping: bool
    largest: Mapping[str, int]

    def mtu(self, tunnel: Tunnel) -> int | None:
        """Return the MTU of a network that takes these ways, None as long as a peer does not answer."""
        least = min((self.largest.get(str(peer), 0) for peer in tunnel.peers.values()), default=0)
        return least - OVERHEAD[tunnel.local.version] if least else None


def look_at_paths(uri: str, tunnels: list[Tunnel]) -> TunnelPath:
    """Ask a hypervisor, which pings the peers of its tunnels. Raises HypervisorError."""
    local = tunnels[0].local
    peers = sorted({str(peer) for tunnel in tunnels for peer in tunnel.peers.values()})
    values = {"own": str(local), "peers": " ".join(peers), "header": str(_HEADERS[local.version])}
    said = run_as_root(uri, assigned(values) + hypervisor_script("tunnel_path")).split("\n")
    words = [line.split() for line in said]
    return TunnelPath(
        ["address", "yes"] in words,
        ["vxlan", "yes"] in words,
        ["ping", "no"] not in words,
        {
            line[1]: int(line[2])
            for line in words
            if len(line) == 3 and line[0] == "peer" and line[2].isdigit()
        },
    )


def tunnel_faults(
    hypervisor: str, tunnel: Tunnel, path: TunnelPath, names: Mapping[str, str], *, has_ipv6: bool
) -> str:
    """Return why an end of a tunnel cannot be made, empty if it can; ``names`` are those of peers."""
    if not path.has_address:
        return f"no device of {hypervisor} has {tunnel.local} (hypervisors.{hypervisor}.tunnel)"
    if not path.has_vxlan:
        return f"the kernel of {hypervisor} has no VXLAN (`modprobe vxlan`)"
    if has_ipv6 and tunnel.mtu is not None and tunnel.mtu < _LEAST_MTU6:
        return f"IPv6 needs an MTU of {_LEAST_MTU6}, and {tunnel.mtu} are left by the tunnel (remove cidr6)"
    if not path.has_ping:
        return f"{hypervisor} has no ping to measure the way with (Debian: iputils-ping)"
    for peer in map(str, tunnel.peers.values()):
        largest = path.largest.get(peer, 0)
        if not largest:
            return f"{hypervisor} gets no answer from {peer}, the tunnel of {names.get(peer, peer)}"
        room = largest - OVERHEAD[tunnel.local.version]
        if tunnel.mtu is not None and tunnel.mtu > room:
            return f"its MTU is {tunnel.mtu}, and {room} is the most that gets from {hypervisor} to {peer}"
    return ""
