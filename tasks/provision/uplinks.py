"""The hypervisor's own devices that networks need: `verify` names those that no longer work."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.model import Lab, Mode
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision.hypervisor_network import HypervisorNetwork, hypervisor_network
from labrun.tasks.provision.network_obstacles import device_fault

__all__ = ["lost_uplinks", "uplink_rows"]


def uplink_rows(lab: Lab, uri: str) -> list[Outcome]:
    """Return a failed row for each network whose device or bridge on the hypervisor no longer works.

    Nothing is read where no network has one. The row is missing where this process cannot look.
    """
    if not any(network.dev or network.bridge for network in lab.networks.values()):
        return []
    here = hypervisor_network(uri)
    found = lost_uplinks(lab, here) if here is not None else ()
    return [
        Outcome(HYPERVISOR, "network", name, Status.FAILED, "connected", "cut off", why)
        for name, why in found
    ]


def lost_uplinks(lab: Lab, here: HypervisorNetwork) -> Iterator[tuple[str, str]]:
    """Yield the networks with machines of the lab on them that have no way out, and why."""
    used = {nic.network for host in lab.hosts.values() if host.machine is not None for nic in host.interfaces}
    for name, network in lab.networks.items():
        if name not in used:
            continue
        why = device_fault(network, here)
        link = here.links.get(network.dev or "")
        if why is None and network.mode is not Mode.BRIDGE and link is not None and not link.is_up:
            why = f"the device {link.name} of the hypervisor has no carrier: nothing is at the other end"
        if why is not None:
            yield name, why
