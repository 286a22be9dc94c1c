"""Where the hypervisor's forwarded ports lead: addresses of the network, by IP version."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

from labrun.inventory.model import Address, Lab, Network
from labrun.inventory.topology.routing import tables
from labrun.inventory.topology.wiring import wiring
from labrun.inventory.traffic import HypervisorForward

__all__ = ["answers_by_itself", "forward_text", "targets_of_forward"]


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
