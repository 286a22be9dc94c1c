"""The values that a template of ``files`` can use: plain data from the lab as the file describes it."""

from __future__ import annotations

from labrun.inventory.model import Host, Interface, Lab, Network
from labrun.inventory.topology.routing import route_table
from labrun.json_values import JsonObject

__all__ = ["lab_values"]


def lab_values(lab: Lab) -> JsonObject:
    """Return ``lab``, ``hosts`` and ``networks``; addresses are text, absent values are None."""
    return {
        "lab": {"name": lab.name},
        "hosts": {name: _host(lab, host) for name, host in lab.hosts.items()},
        "networks": {name: _network(network) for name, network in lab.networks.items()},
    }


def _host(lab: Lab, host: Host) -> JsonObject:
    gateways = [route for route in route_table(lab, host.name) if route.prefix.prefixlen == 0]
    addresses = [str(address.ip) for nic in host.interfaces for address in (nic.ipv4, nic.ipv6) if address]
    return {
        "name": host.name,
        "hostname": host.hostname or host.name,
        "role": str(host.role),
        "user": host.user if host.machine is not None else host.ssh.user,
        "groups": list(host.groups),
        "address": addresses[0] if addresses else host.address,
        "gateway": next((str(r.via) for r in gateways if r.via is not None and r.prefix.version == 4), None),
        "gateway6": next((str(r.via) for r in gateways if r.via is not None and r.prefix.version == 6), None),
        "networks": {nic.name: _nic(nic) for nic in host.interfaces},
    }


def _nic(nic: Interface) -> JsonObject:
    return {
        "ipv4": str(nic.ipv4.ip) if nic.ipv4 else None,
        "prefix4": nic.ipv4.network.prefixlen if nic.ipv4 else None,
        "ipv6": str(nic.ipv6.ip) if nic.ipv6 else None,
        "prefix6": nic.ipv6.network.prefixlen if nic.ipv6 else None,
        "addresses": [str(each.ip) for each in nic.addresses],
        "mac": nic.mac or None,
        "network": nic.network,
        "dhcp": nic.dhcp,
    }


def _network(network: Network) -> JsonObject:
    return {
        "mode": str(network.mode),
        "cidr": str(network.cidr) if network.cidr else None,
        "netmask": str(network.cidr.netmask) if network.cidr else None,
        "cidr6": str(network.cidr6) if network.cidr6 else None,
        "hypervisor": str(network.hypervisor4.ip) if network.hypervisor4 else None,
        "hypervisor6": str(network.hypervisor6.ip) if network.hypervisor6 else None,
        "domain": network.domain,
        "mtu": network.mtu,
    }
