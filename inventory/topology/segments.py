"""Between which hosts verify sends full segments over the networks that span hypervisors: pure.

A ping gets through where a broken checksum offload loses every TCP segment, and small packets get through
where the MTU on the way is too small. Both depend on the hypervisors, and each direction on its sender.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, permutations, product

from labrun.inventory.model import Address, Host, Interface, Lab
from labrun.inventory.sshd_ports import login_port
from labrun.inventory.topology.nm_properties import mtu_of
from labrun.inventory.topology.parts import spanned
from labrun.inventory.topology.placement import Placement
from labrun.inventory.topology.reach import Connection, reach
from labrun.inventory.topology.tunnels import device_of

__all__ = ["SegmentTrial", "segment_trial", "segment_trials"]

_ETHERNET = 1500
# Pairs of hosts of two hypervisors that are looked at; the file's firewalls may be in the way of some.
_MOST_PAIRS = 64


@dataclass(frozen=True, slots=True)
class SegmentTrial:
    """Full segments from one host to the sshd of another on the same network.

    ``size`` is the MTU there in bytes, ``between`` names the sender's hypervisor and the other one, and
    ``device`` the end of the tunnel on each; both are empty on one hypervisor.
    """

    network: str
    source: str
    target: str
    address: Address
    port: int
    size: int
    between: tuple[str, ...] = ()
    device: str = ""

    @property
    def payload(self) -> int:
        """Return the bytes of data in a ping of the full size."""
        return self.size - (48 if self.address.version == 6 else 28)


def segment_trials(lab: Lab, placement: Placement) -> Iterator[SegmentTrial]:
    """Yield one trial per network that spans, and ordered pair of its hypervisors, in file order.

    Where the file's firewalls let no host of one in at the sshd of a host of the other, there is none.
    """
    for network, on in spanned(lab, placement).items():
        members = [host.name for host, _ in lab.members(network) if host.name in placement.places]
        for between in permutations(on, 2):
            here, there = (
                [name for name in members if placement.places[name].hypervisor == each] for each in between
            )
            tried = (
                segment_trial(lab, network, source, target, between)
                for source, target in islice(product(here, there), _MOST_PAIRS)
            )
            if (found := next(filter(None, tried), None)) is not None:
                yield found


def segment_trial(
    lab: Lab, network: str, source: str, target: str, between: tuple[str, ...] = ()
) -> SegmentTrial | None:
    """Return the trial between two hosts, None if the file gives no way to the target's sshd there."""
    own, other = _nic(lab.hosts[source], network), _nic(lab.hosts[target], network)
    if own is None or other is None:
        return None
    versions = {given.version for given in own.addresses}
    address = next((given.ip for given in other.addresses if given.version in versions), None)
    if address is None:
        return None
    port = login_port(lab.hosts[target].sshd or {}, lab.hosts[target].ssh.port)
    verdict = reach(lab, Connection(source, address, port))
    if verdict is None or not verdict.passes:
        return None
    mtu = lab.networks[network].mtu or _ETHERNET
    size = min(mtu_of(own) or mtu, mtu_of(other) or mtu)
    device = device_of(lab.name, network) if between else ""
    return SegmentTrial(network, source, target, address, port, size, between, device)


def _nic(host: Host, network: str) -> Interface | None:
    return next((nic for nic in host.interfaces if nic.network == network), None)
