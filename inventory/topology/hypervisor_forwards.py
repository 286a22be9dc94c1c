"""Where the hypervisor's forwarded ports lead: addresses of the network, by IP version."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from labrun.inventory.model import Address, Lab, Network
from labrun.inventory.topology.reach import Connection, Verdict, reach
from labrun.inventory.topology.routing import tables
from labrun.inventory.topology.wiring import HYPERVISOR_NODE, wiring
from labrun.inventory.traffic import HypervisorForward

__all__ = [
    "ForwardTrial",
    "answers_by_itself",
    "forward_text",
    "forward_trials",
    "forward_verdict",
    "targets_of_forward",
    "udp_ends",
]


@dataclass(frozen=True, slots=True)
class ForwardTrial:
    """One forwarded port in one IP version, as one row: ``to`` is the address that it leads to.

    ``host`` has that address by the lab file; None = nobody of the lab.
    """

    network: str
    forward: HypervisorForward
    to: Address
    host: str | None

    @property
    def name(self) -> str:
        """Return the name of its row: ``tcp/8080 to web:80 (IPv6)``."""
        return forward_text(self.forward) + (" (IPv6)" if self.to.version == 6 else "")


def forward_trials(lab: Lab) -> tuple[ForwardTrial, ...]:
    """Return the forwarded ports of all networks in file order, IPv4 first."""
    return tuple(
        ForwardTrial(network.name, forward, to, wiring(lab, 4 if to.version == 4 else 6).owner.get(to))
        for network in lab.networks.values()
        for forward in network.forward
        for to in targets_of_forward(lab, network, forward)
    )


def forward_verdict(lab: Lab, trial: ForwardTrial, client: Address) -> Verdict | None:
    """Return what the file's firewalls, filters and forwards do to a connection from ``client``.

    None if the file cannot tell. ``client`` is the address that the host sees.
    """
    forward = trial.forward
    return reach(lab, Connection(HYPERVISOR_NODE, trial.to, forward.to_port, forward.proto), client)


def udp_ends(lab: Lab) -> frozenset[str]:
    """Return the hosts at the end of forwarded UDP ports: their sockets tell what no answer means."""
    ends = set()
    for trial in forward_trials(lab):
        if trial.forward.proto == "udp" and trial.host is not None:
            network = lab.networks[trial.network]
            own = network.hypervisor4 if trial.to.version == 4 else network.hypervisor6
            found = forward_verdict(lab, trial, own.ip) if own is not None else None
            ends.add(trial.host if found is None else found.end)
    return frozenset(ends)


def targets_of_forward(lab: Lab, network: Network, forward: HypervisorForward) -> tuple[Address, ...]:
    """Return the addresses that a forward leads to, IPv4 first; empty if the file knows none."""
    if forward.to in lab.hosts:
        nics = lab.hosts[forward.to].nics_on(network.name)
        four = next((nic.ipv4.ip for nic in nics if nic.ipv4 is not None), None)
        six = next((nic.ipv6.ip for nic in nics if nic.ipv6 is not None), None)
        return tuple(each for each in (four, six) if each is not None)
    try:
        return (ip_address(forward.to),)
    except ValueError:
        return ()


def answers_by_itself(lab: Lab, network: Network, to: Address) -> bool:
    """Tell whether a host's answers to strangers pass the hypervisor by its own routes.

    Those of a host with another gateway, or none, only do if the hypervisor hides the stranger's address.
    """
    version: Literal[4, 6] = 4 if to.version == 4 else 6
    own = network.hypervisor4 if version == 4 else network.hypervisor6
    host = wiring(lab, version).owner.get(to)
    if host is None or host not in lab.hosts or own is None:
        return True
    return any(route.prefix.prefixlen == 0 and route.via == own.ip for route in tables(lab, version)[host])


def forward_text(forward: HypervisorForward) -> str:
    """Return a forward in words: ``tcp/8080 to web:80``."""
    return f"{forward.proto}/{forward.port} to {forward.to}:{forward.to_port}"
