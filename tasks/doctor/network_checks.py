"""Checks of subnets, forwarding and what stands in its way, and of DNS and DHCP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from labrun.inventory.model import Mode, Role
from labrun.outcome import Status
from labrun.tasks.doctor.model import Facts, Finding, LibvirtNetwork, Prefix, Route

__all__ = [
    "check_bridge_nf",
    "check_bridges",
    "check_devices",
    "check_dnsmasq",
    "check_forwarding",
    "check_subnets",
    "check_vlans",
]

_BRIDGE_NF: Final = tuple(
    f"net.bridge.bridge-nf-call-{each}" for each in ("iptables", "ip6tables", "arptables")
)
_FORWARDING: Final = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


def check_subnets(facts: Facts) -> Iterator[Finding]:
    """Judge the lab's subnets, or those of all networks, against routes and other networks."""
    own = _own_subnets(facts)
    # The routes of libvirt's own bridges are those networks.
    bridges = {network.bridge for network in facts.networks}
    routes = [route for route in facts.routes if route.dev not in bridges]
    found = False
    for owner, subnet in own:
        for route in routes:
            # A route to a wider range loses against the network's own.
            is_wider = route.to.prefixlen < subnet.prefixlen and not route.is_of_address
            if _overlap(subnet, route.to) and not is_wider:
                found = True
                yield _route_clash(facts, owner, subnet, route)
        for network in facts.networks:
            if facts.lab is None or network.lab == facts.lab.name or not network.active:
                continue
            if any(_overlap(subnet, theirs) for theirs in network.subnets):
                found = True
                yield _network_clash(facts, owner, subnet, network)
    if not found:
        whose = f"no subnet of {facts.lab.name}" if facts.lab else "no network here"
        yield Finding(
            "subnets", Status.OK, f"{whose} overlaps with a route of this machine or another network"
        )


def check_bridges(facts: Facts) -> Iterator[Finding]:
    """Judge whether the bridges of this machine that the lab's networks stand on are there."""
    networks = facts.lab.networks.values() if facts.lab else ()
    wanted = {each.bridge: each.name for each in networks if each.mode is Mode.BRIDGE and each.bridge}
    found = False
    for bridge, network in wanted.items():
        make = f"sudo labrun host-bridge create {bridge} --dev NIC"
        if bridge in facts.devices and bridge not in facts.bridges:
            what = f"{bridge} of this machine is not a bridge"
            mend = "name a bridge in the lab file; `ip -br link show type bridge` lists them"
        elif bridge not in facts.devices:
            what, mend = f"this machine has no bridge {bridge}", make
        elif not facts.devices[bridge]:
            what, mend = f"the bridge {bridge} of this machine is down", f"sudo ip link set {bridge} up"
        else:
            continue
        found = True
        yield Finding(f"bridge {bridge}", Status.FAILED, what, _needed_by(network), mend)
    if not found:
        here = f"{', '.join(wanted)}: there" if wanted else "no network is on a bridge of this machine"
        yield Finding("bridges", Status.OK, here)


def check_devices(facts: Facts) -> Iterator[Finding]:
    """Judge whether the devices of this machine that the lab's networks lead out of are there."""
    networks = facts.lab.networks.values() if facts.lab else ()
    wanted = {each.dev: each.name for each in networks if each.dev}
    found = False
    for device, network in wanted.items():
        if device not in facts.devices:
            what, mend = (
                f"this machine has no device {device}",
                "set `dev` in the lab file to one that `ip -br link` lists",
            )
        elif not facts.devices[device]:
            what, mend = f"the device {device} of this machine is down", f"sudo ip link set {device} up"
        else:
            continue
        found = True
        yield Finding(f"device {device}", Status.FAILED, what, _needed_by(network), mend)
    if not found:
        here = f"{', '.join(wanted)}: there" if wanted else "no network names a device of this machine"
        yield Finding("devices", Status.OK, here)


def _needed_by(network: str) -> str:
    return f"the network {network} needs it: `up` refuses the lab"


def check_vlans(facts: Facts) -> Iterator[Finding]:
    """Judge whether containers can be on VLANs: they have this machine's kernel."""
    if facts.has_vlans:
        yield Finding("vlans", Status.OK, "this machine's kernel has 802.1Q, for VLANs in containers")
        return
    lab = facts.lab
    concerned = [
        name
        for name in facts.containers
        if lab is not None and any(lab.networks[nic.network].vlan for nic in lab.hosts[name].interfaces)
    ]
    what = "this machine's kernel has no 802.1Q"
    if not concerned:
        yield Finding("vlans", Status.OK, f"{what}, which no container here needs; VMs have their own")
        return
    matters = f"{', '.join(concerned)} cannot be on a VLAN as containers: `up` refuses the lab"
    yield Finding("vlans", Status.FAILED, what, matters, "sudo modprobe 8021q, or driver: qemu in the lab")


def _overlap(one: Prefix, other: Prefix) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def _own_subnets(facts: Facts) -> list[tuple[str, Prefix]]:
    if facts.lab is None:
        return [
            (network.name, subnet)
            for network in facts.networks
            if network.active
            for subnet in network.subnets
        ]
    return [
        (network.name, subnet)
        for network in facts.lab.networks.values()
        if network.mode.has_hypervisor_address
        for subnet in (network.cidr, network.cidr6)
        if subnet is not None
    ]


def _route_clash(facts: Facts, owner: str, subnet: Prefix, route: Route) -> Finding:
    via = f" via {route.via}" if route.via else ""
    remove = f"sudo ip {'-6 ' if subnet.version == 6 else ''}route del {route.to}{via} dev {route.dev}"
    other = f"set `cidr` of {owner} in the lab file to {_free(facts, subnet)}, or: " if facts.lab else ""
    return Finding(
        f"subnet {owner}",
        Status.FAILED,
        f"{subnet} of {owner} overlaps with this machine's route to {route.to}{via} dev {route.dev}",
        "libvirt refuses to start the network, or this machine no longer finds the way there",
        f"{other}{remove}",
    )


def _network_clash(facts: Facts, owner: str, subnet: Prefix, network: LibvirtNetwork) -> Finding:
    if network.lab is not None:
        whose, remove = f"of the lab {network.lab}", f"labrun down --name {network.lab}"
    else:
        whose, remove = "here", f"virsh -c {facts.libvirt[0].uri} net-destroy {network.name}"
    return Finding(
        f"subnet {owner}",
        Status.FAILED,
        f"{subnet} of {owner} overlaps with the network {network.name} {whose}",
        "libvirt starts only one of them",
        f"set `cidr` of {owner} in the lab file to {_free(facts, subnet)}, or: {remove}",
    )


def _free(facts: Facts, subnet: Prefix) -> str:
    """Return a subnet of the same size that nothing here uses."""
    taken = [route.to for route in facts.routes]
    taken += [each for network in facts.networks for each in network.subnets]
    taken += [each for _, each in _own_subnets(facts)]
    whole: Iterable[Prefix]
    if isinstance(subnet, IPv4Network):
        length = max(subnet.prefixlen, 16)
        whole = (
            each
            for top in range(64, 128)
            for each in IPv4Network(f"10.{top}.0.0/16").subnets(new_prefix=length)
        )
        free = (
            each for each in whole if not any(isinstance(t, IPv4Network) and t.overlaps(each) for t in taken)
        )
        return str(next(free, "another subnet"))
    return "another subnet of fd00::/8"


def check_forwarding(facts: Facts) -> Iterator[Finding]:
    """Judge whether this machine forwards what its networks need."""
    for version, key in _FORWARDING.items():
        value = facts.kernel.get(key)
        if value is None:
            continue
        needing = [
            network.name
            for network in facts.networks
            if network.active
            and network.mode in ("nat", "route", "open")
            and any(subnet.version == version for subnet in network.subnets)
        ]
        name = f"forwarding IPv{version}"
        if value != "0":
            yield Finding(name, Status.OK, f"this machine forwards IPv{version} ({key} is {value})")
        elif needing:
            yield Finding(
                name,
                Status.FAILED,
                f"this machine does not forward IPv{version}: {key} is 0",
                f"guests of {', '.join(needing)} reach nothing beyond it",
                f"sudo sysctl -w {key}=1",
            )
        else:
            yield Finding(
                name,
                Status.OK,
                f"{key} is 0; libvirt turns it on with the first nat, route or open network",
            )


def check_bridge_nf(facts: Facts) -> Iterator[Finding]:
    """Judge whether what guests of one network send each other passes this machine's packet filter."""
    on = [key for key in _BRIDGE_NF if facts.kernel.get(key, "0") != "0"]
    if not any(key in facts.kernel for key in _BRIDGE_NF):
        yield Finding(
            "bridge-nf", Status.OK, "bridges pass no frames to iptables (br_netfilter is not loaded)"
        )
        return
    if not on:
        yield Finding(
            "bridge-nf", Status.OK, "bridges pass no frames to iptables (bridge-nf-call-iptables is 0)"
        )
        return
    routers = _routers_on_nat(facts)
    matters = "what guests of one network send each other passes this machine's filter and masquerading"
    if routers:
        matters += f": what others on its nat network send through {', '.join(routers)} gets no answer"
    names = ", ".join(key.removeprefix("net.bridge.") for key in on)
    yield Finding(
        "bridge-nf",
        Status.FAILED if routers and _BRIDGE_NF[0] in on else Status.WARNING,
        f"bridges pass their frames to iptables: {names} {'is' if len(on) == 1 else 'are'} 1",
        matters,
        f"sudo sysctl -w {' '.join(f'{key}=0' for key in on)}",
    )


def _routers_on_nat(facts: Facts) -> list[str]:
    if facts.lab is None:
        return []
    return [
        host.name
        for host in facts.lab.hosts.values()
        if host.role is Role.ROUTER
        and any(facts.lab.networks[nic.network].mode is Mode.NAT for nic in host.interfaces)
    ]


def check_dnsmasq(facts: Facts) -> Iterator[Finding]:
    """Judge whether libvirt can serve DHCP and DNS on the lab's networks."""
    if "dnsmasq" not in facts.programs:
        yield Finding(
            "dnsmasq",
            Status.FAILED,
            "dnsmasq is not installed",
            "without it libvirt starts no network with an address of this machine: it serves DHCP and DNS",
            "sudo apt-get install dnsmasq-base"
            if "apt-get" in facts.programs
            else "sudo dnf install dnsmasq",
        )
    elif facts.dns_on_every_address:
        yield Finding(
            "dnsmasq",
            Status.FAILED,
            f"{facts.dns_on_every_address} holds port 53 on every address",
            "the dnsmasq of a new network cannot serve DNS there, and libvirt does not start the network",
            "let it listen on specific addresses only: bind-dynamic in dnsmasq.conf, listen-on in named.conf",
        )
    else:
        yield Finding(
            "dnsmasq", Status.OK, f"dnsmasq is installed ({facts.programs['dnsmasq']}), and port 53 is free"
        )
