"""What the hypervisor no longer carries as it should, networks and NICs, as rows of `verify`."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.hypervisor import connect
from labrun.inventory.model import Lab, Mode
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision.hypervisor_network import HypervisorNetwork, hypervisor_network
from labrun.tasks.provision.network_obstacles import device_fault
from labrun.tasks.provision.network_settings import HEALTH, HEALTHY
from labrun.tasks.provision.network_view import view_networks
from labrun.tasks.provision.networks import observe_networks

__all__ = ["health_rows", "lost_uplinks", "plug_rows", "uplink_rows"]


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


def health_rows(lab: Lab, uri: str) -> list[Outcome]:
    """Return a failed row for each network with machines of the lab on it that libvirt no longer keeps up.

    What is wrong is what `plan` and `drift` find beside libvirt's definition. Raises HypervisorError.
    """
    used, rows = _used(lab), []
    for name, seen in observe_networks(connect(uri), lab.name).items():
        if name not in used:
            continue
        wrong = [
            f"{key} {seen.have[key]}" for key in sorted(HEALTH) if seen.have.get(key, HEALTHY) != HEALTHY
        ]
        wrong = wrong if seen.have.get("active") != "no" else ["stopped"]
        if wrong:
            actual, why = ", ".join(wrong), "`labrun up` puts it right"
            rows.append(Outcome(HYPERVISOR, "network", name, Status.FAILED, "running", actual, why))
    return rows


def plug_rows(lab: Lab, uri: str) -> list[Outcome]:
    """Return a failed row for each running machine with a NIC whose end is not in its network's bridge.

    An end that is down counts as well. There is no row where this process cannot look. Raises
    HypervisorError.
    """
    here = hypervisor_network(uri)
    if here is None:
        return []
    loose: dict[str, list[str]] = {}
    for name, view in view_networks(lab.name, uri).items():
        for plug in view.plugs if view.bridge else ():
            link = here.links.get(plug.dev)
            if plug.host is None or plug.host not in lab.hosts or link is None:
                continue
            if link.port_of != view.bridge or plug.dev not in here.up:
                loose.setdefault(plug.host, []).append(f"{name} ({plug.dev})")
    why = "`labrun up` puts it right"
    return [
        Outcome(host, "machine", host, Status.FAILED, "plugged in", f"not plugged in: {', '.join(nics)}", why)
        for host, nics in loose.items()
    ]


def _used(lab: Lab) -> set[str]:
    machines = (host for host in lab.hosts.values() if host.machine is not None)
    return {nic.network for host in machines for nic in host.interfaces}


def lost_uplinks(lab: Lab, here: HypervisorNetwork) -> Iterator[tuple[str, str]]:
    """Yield the networks with machines of the lab on them that have no way out, and why."""
    used = _used(lab)
    for name, network in lab.networks.items():
        if name not in used:
            continue
        why = device_fault(network, here)
        link = here.links.get(network.dev or "")
        if why is None and network.mode is not Mode.BRIDGE and link is not None and not link.is_up:
            why = f"the device {link.name} of the hypervisor has no carrier: nothing is at the other end"
        if why is not None:
            yield name, why
