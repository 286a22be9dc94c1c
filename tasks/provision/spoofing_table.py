"""What keeps guests from using addresses that the lab file gives to others, as a table of nftables.

An address that the file gives to nobody is free: a guest may have a virtual address, and keeps its former one
until `configure` has changed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from labrun.inventory.kernel_values import role_values, value_of
from labrun.inventory.model import Address, Host, Interface, Lab, Mode
from labrun.inventory.topology.expectations import addresses_of
from labrun.inventory.topology.vlans import carrier
from labrun.tasks.provision.driver import tap_name

__all__ = ["guarded", "spoofing_table"]

_FORWARDING = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding")


def guarded(lab: Lab) -> list[tuple[Host, Interface]]:
    """Return the NICs whose frames are looked at, with their hosts."""
    return [
        (host, nic)
        for host in lab.hosts.values()
        for nic in host.interfaces
        if host.machine is not None
        and lab.networks[nic.network].mode is not Mode.MACVTAP
        # The frames of a VLAN come by the NIC that carries it.
        and carrier(lab, host, nic).spoofing == "deny"
        # Its profile gives it another MAC address than the hypervisor knows.
        and not any(key.endswith("cloned-mac-address") for key in nic.nmcli)
    ]


def _forwards(host: Host) -> bool:
    """Tell whether a host sends packets of others: their source addresses are theirs."""
    values = (value_of(host.sysctl, key) or role_values(host).get(key) for key in _FORWARDING)
    return host.nat is not None or any(value not in (None, "0") for value in values)


def spoofing_table(lab: Lab, table: str) -> str:
    """Return the text that makes the lab's table."""
    return "\n".join(_lines(lab, table)) + "\n"


def _lines(lab: Lab, table: str) -> Iterator[str]:
    nics = guarded(lab)
    taps = {nic.mac: f'"{tap_name(carrier(lab, host, nic).mac)}"' for host, nic in nics}
    ends = [(host, nic) for host, nic in nics if not _forwards(host)]
    declared = sorted(set(_declared(lab)), key=lambda each: (each.version, int(each)))
    yield f"table bridge {table} {{"
    yield _set("guarded", "ifname", (taps[nic.mac] for _, nic in nics))
    yield _set("macs", "ifname . ether_addr", (f"{taps[nic.mac]} . {nic.mac}" for _, nic in nics))
    yield _set("ends", "ifname", (taps[nic.mac] for _, nic in ends))
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        of_version = [str(each) for each in declared if each.version == version]
        yield _set(f"declared{version}", kind, of_version)
        own = (
            f"{taps[nic.mac]} . {address}"
            for host, nic in ends
            for address in _own(host)
            if address.version == version
        )
        yield _set(f"own{version}", f"ifname . {kind}", own)
    yield "chain prerouting {"
    yield "type filter hook prerouting priority -250; policy accept;"
    yield "iifname != @guarded accept"
    yield "iifname . ether saddr != @macs counter drop"
    yield "iifname . arp saddr ether != @macs counter drop"
    yield "iifname != @ends accept"
    yield "arp saddr ip @declared4 iifname . arp saddr ip != @own4 counter drop"
    yield "ip saddr @declared4 iifname . ip saddr != @own4 counter drop"
    yield "ip6 saddr @declared6 iifname . ip6 saddr != @own6 counter drop"
    # The target of a neighbour advertisement: whose link-layer address it tells.
    claimed = ", ".join(_hex(each) for each in declared if each.version == 6)
    if claimed:
        yield f"icmpv6 type 136 @th,64,128 {{ {claimed} }} jump claims"
    yield "}"
    if claimed:
        # It must exist before the jump, in the order in which nft reads.
        yield "chain claims {"
        own6 = (
            f"iifname {taps[nic.mac]} @th,64,128 {_hex(address)} return"
            for host, nic in ends
            for address in _own(host)
            if address.version == 6
        )
        # NICs on VLANs share the tap of the one below.
        yield from dict.fromkeys(own6)
        yield "counter drop"
        yield "}"
    yield "}"


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(dict.fromkeys(elements))
    return f"set {name} {{ type {kind}; " + (f"elements = {{ {listed} }}; }}" if listed else "}")


def _own(host: Host) -> list[Address]:
    """Return the addresses of a host on all its NICs: Linux uses each of them on every NIC."""
    found: list[Address] = []
    for nic in host.interfaces:
        written = [each for each in (nic.ipv4, nic.ipv6) if each is not None]
        found += [each.ip for each in (*written, *addresses_of(nic))]
    return list(dict.fromkeys(found))


def _declared(lab: Lab) -> Iterator[Address]:
    for network in lab.networks.values():
        for own in (network.hypervisor4, network.hypervisor6):
            if own is not None:
                yield own.ip
    for host in lab.hosts.values():
        yield from _own(host)


def _hex(address: Address) -> str:
    return f"0x{int(address):032x}"
