"""What a host's `firewall` and `nat` mean in addresses: accepted flows, port forwards, hidden subnets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Literal

from labrun.inventory.model import Address, Host, Lab, Prefix
from labrun.inventory.topology.wiring import Version
from labrun.inventory.traffic import FirewallRule, Forward

__all__ = [
    "Flow",
    "PortForward",
    "accepted",
    "hidden",
    "place",
    "ports_text",
    "redirected",
    "redirections",
    "rule_text",
    "targets_of",
]

_VERSIONS: tuple[Version, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class Flow:
    """Packets that one rule accepts; empty ``sources``, ``targets`` or ``ports`` mean any.

    ``version`` is None if addresses do not matter, so that both IP versions match. ``said`` is the rule as
    the lab file words it.
    """

    proto: Literal["tcp", "udp", "icmp"]
    version: Version | None
    sources: tuple[Prefix, ...]
    targets: tuple[Prefix, ...]
    ports: tuple[tuple[int, int], ...]
    text: str


@dataclass(frozen=True, slots=True)
class PortForward:
    """A port of the router whose traffic is forwarded to another host.

    ``address`` is the router's address on the network named by ``on``, or None if only an external DHCP
    server knows it; ``mac`` then identifies the NIC. ``hairpin`` is the subnet of a network that packets
    both come from and return to, None otherwise.
    """

    proto: Literal["tcp", "udp"]
    version: Version
    address: Address | None
    mac: str
    port: int
    to: Address
    to_port: int
    hairpin: Prefix | None
    text: str


def place(lab: Lab, name: str) -> tuple[Prefix, ...]:
    """Return the prefixes of a network, host, address or prefix, IPv4 first; empty means not known."""
    if name in lab.networks:
        network = lab.networks[name]
        return tuple(subnet for subnet in (network.cidr, network.cidr6) if subnet is not None)
    if name in lab.hosts:
        given = [address for nic in lab.hosts[name].interfaces for address in nic.addresses]
        return tuple(sorted((ip_network(each.ip) for each in given), key=lambda prefix: prefix.version))
    try:
        return (ip_network(name),)
    except ValueError:
        return ()


def ports_text(ports: tuple[tuple[int, int], ...]) -> str:
    """Return ports in the usual notation: ``80,8000-8010``."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ports)


def rule_text(rule: FirewallRule) -> str:
    """Return a rule in words: ``tcp/80 from left to web``."""
    what = f"{rule.proto}/{ports_text(rule.ports)}" if rule.ports else rule.proto
    source = f" from {rule.source}" if rule.source is not None else ""
    return f"{what}{source}" + (f" to {rule.to}" if rule.to is not None else "")


def accepted(lab: Lab, host: Host, chain: Literal["input", "forward"]) -> tuple[Flow, ...]:
    """Return what the host's rules accept in a chain, in file order; rules with ``to`` belong to forward."""
    rules = host.firewall.allow if host.firewall is not None else ()
    fitting = (rule for rule in rules if (rule.to is not None) == (chain == "forward"))
    return tuple(flow for rule in fitting for flow in _flows(lab, rule))


def _flows(lab: Lab, rule: FirewallRule) -> Iterator[Flow]:
    text = rule_text(rule)
    if rule.source is None and rule.to is None:
        yield Flow(rule.proto, None, (), (), rule.ports, text)
        return
    for version in _VERSIONS:
        sources, targets = (_of(lab, name, version) for name in (rule.source, rule.to))
        if sources is not None and targets is not None:
            yield Flow(rule.proto, version, sources, targets, rule.ports, text)


def _of(lab: Lab, name: str | None, version: Version) -> tuple[Prefix, ...] | None:
    """Return the prefixes of a name in one IP version: empty for any, None if it has none."""
    if name is None:
        return ()
    return tuple(prefix for prefix in place(lab, name) if prefix.version == version) or None


def hidden(lab: Lab, host: Host, version: Version) -> tuple[Prefix, ...]:
    """Return the subnets whose hosts take on the router's address outside them, of all also inside it."""
    if host.nat is not None and host.nat.masquerade_all:
        return (ip_network("0.0.0.0/0" if version == 4 else "::/0"),)
    names = host.nat.masquerade if host.nat is not None else ()
    return tuple(prefix for name in names for prefix in place(lab, name) if prefix.version == version)


def redirections(lab: Lab, host: Host) -> tuple[PortForward, ...]:
    """Return the host's port forwards in file order, one for each IP version that both ends have."""
    forwards = host.nat.forward if host.nat is not None else ()
    return tuple(found for forward in forwards for found in redirected(lab, host, forward))


def redirected(lab: Lab, host: Host, forward: Forward) -> Iterator[PortForward]:
    """Yield what one port forward means, or nothing if the file knows no address for it."""
    nic, network = next(iter(host.nics_on(forward.on)), None), lab.networks.get(forward.on)
    if nic is None or network is None:
        return
    text = f"{forward.proto}/{forward.port} on {forward.on} to {forward.to}:{forward.to_port}"
    for version in _VERSIONS:
        own = nic.ipv4 if version == 4 else nic.ipv6
        subnet = network.cidr if version == 4 else network.cidr6
        to = next((each for each in targets_of(lab, host, forward.to) if each.version == version), None)
        by_mac = own is None and version == 4 and nic.dhcp and nic.mac
        if to is not None and (own is not None or by_mac):
            back = subnet if subnet is not None and to in subnet else None
            if host.nat is not None and host.nat.masquerade_all:
                back = ip_network("0.0.0.0/0" if version == 4 else "::/0")
            address = own.ip if own is not None else None
            yield PortForward(
                forward.proto, version, address, nic.mac, forward.port, to, forward.to_port, back, text
            )


def targets_of(lab: Lab, host: Host, name: str) -> tuple[Address, ...]:
    """Return where a forward leads: a literal address, or a host's addresses on the router's networks."""
    if name not in lab.hosts:
        try:
            return (ip_address(name),)
        except ValueError:
            return ()
    own = dict.fromkeys(nic.network for nic in host.interfaces)
    shared = [nic for network in own for nic in lab.hosts[name].nics_on(network)]
    return tuple(address.ip for nic in shared for address in nic.addresses)
