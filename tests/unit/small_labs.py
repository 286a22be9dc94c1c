"""Labs made by hand for tests that need a model and no file."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_network

from labrun.inventory.model import (
    DhcpRange,
    Gateway,
    Host,
    Interface,
    Lab,
    Mode,
    Network,
    Role,
    StaticRoute,
)


def network(name: str, cidr: str | None, mode: str = "isolated", cidr6: str | None = None) -> Network:
    """Make a network whose hypervisor has the first address where the mode gives it one."""
    subnet = IPv4Network(cidr) if cidr else None
    subnet6 = IPv6Network(cidr6) if cidr6 else None
    owns = Mode(mode).has_hypervisor_address
    return Network(
        name=name,
        mode=Mode(mode),
        cidr=subnet,
        cidr6=subnet6,
        hypervisor4=IPv4Interface((subnet[1], subnet.prefixlen)) if subnet and owns else None,
        hypervisor6=IPv6Interface((subnet6[1], subnet6.prefixlen)) if subnet6 and owns else None,
        dhcp=DhcpRange(subnet[128], subnet[250]) if subnet and owns else None,
    )


def host(
    name: str,
    nics: Mapping[str, str],
    role: str = "host",
    gateway: str = "auto",
    routes: Mapping[str, str] | None = None,
    sysctl: Mapping[str, str] | None = None,
) -> Host:
    """Make a host; a NIC is ``address/length[ address6/length]``, with ``dhcp`` before a reserved one."""
    return Host(
        name=name,
        role=Role(role),
        interfaces=tuple(_nic(name, where, what) for where, what in nics.items()),
        user="lab",
        machine=None,
        gateway=_gateway(gateway),
        routes=tuple(StaticRoute(ip_network(to), ip_address(via)) for to, via in (routes or {}).items()),
        sysctl=sysctl or {},
    )


def lab(networks: list[Network], hosts: list[Host], routing: str = "auto") -> Lab:
    """Put networks and hosts together."""
    return Lab(
        name="small",
        hypervisor="auto",
        networks={each.name: each for each in networks},
        hosts={each.name: each for each in hosts},
        routing="manual" if routing == "manual" else "auto",
    )


def two_networks() -> Lab:
    """Make the lab of the examples: a router between two networks, two hosts on each."""
    return lab(
        [network("network1", "172.16.0.0/24"), network("network2", "172.17.0.0/24")],
        [
            host("host00", {"network1": "172.16.0.254/24", "network2": "172.17.0.254/24"}, "router"),
            host("host01", {"network1": "172.16.0.11/24"}),
            host("host02", {"network1": "172.16.0.12/24"}),
            host("host03", {"network2": "172.17.0.11/24"}),
            host("host04", {"network2": "dhcp 172.17.0.177/24"}),
        ],
    )


def dual_stack() -> Lab:
    """Make the same lab with IPv6 beside IPv4; host04 has none of it."""
    return lab(
        [
            network("network1", "172.16.0.0/24", cidr6="fd00:16::/64"),
            network("network2", "172.17.0.0/24", cidr6="fd00:17::/64"),
        ],
        [
            host(
                "host00",
                {
                    "network1": "172.16.0.254/24 fd00:16::fe/64",
                    "network2": "172.17.0.254/24 fd00:17::fe/64",
                },
                "router",
            ),
            host("host01", {"network1": "172.16.0.11/24 fd00:16::11/64"}),
            host("host02", {"network1": "172.16.0.12/24 fd00:16::12/64"}),
            host("host03", {"network2": "172.17.0.11/24 fd00:17::11/64"}),
            host("host04", {"network2": "dhcp 172.17.0.177/24"}),
        ],
    )


def _nic(name: str, where: str, what: str) -> Interface:
    words = what.split()
    return Interface(
        network=where,
        mac=mac(name, where),
        ipv4=next((IPv4Interface(word) for word in words if "." in word), None),
        ipv6=next((IPv6Interface(word) for word in words if ":" in word), None),
        dhcp="dhcp" in words,
    )


def mac(name: str, where: str) -> str:
    """Return a MAC that tells hosts and networks apart."""
    digits = f"{abs(sum(ord(c) * 31**i for i, c in enumerate(name + '/' + where))) % (1 << 40):010x}"
    return ":".join(["02", *(digits[at : at + 2] for at in range(0, 10, 2))])


def _gateway(what: str) -> Gateway:
    if what == "auto" or what == "none":
        return Gateway(kind="auto" if what == "auto" else "none")
    if "." in what or ":" in what:
        return Gateway(kind="address", address=ip_address(what))
    return Gateway(kind="host", host=what)
