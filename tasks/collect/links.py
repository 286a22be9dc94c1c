"""Rows for addresses: a host's NICs compared with the lab file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, IPv6Interface

from labrun.inventory.model import Interface, Lab
from labrun.inventory.topology.expectations import addresses_of
from labrun.inventory.topology.nm_properties import is_mac_set, mtu_of, nic_properties
from labrun.inventory.topology.vlans import vlan_device
from labrun.inventory.topology.wiring import wiring
from labrun.outcome import Nic, Outcome, Status
from labrun.tasks.collect.by_hand import address_commands
from labrun.tasks.collect.capture import Capture
from labrun.tasks.collect.nic_causes import ipv6_off, mtu_of_ipv6
from labrun.tasks.collect.schedule import LARGEST
from labrun.tasks.guest.facts.claims import claims
from labrun.tasks.guest.facts.links import Link

__all__ = ["address_rows", "expected_addresses", "no_nic"]

_ANY = "an address by DHCP"


def no_nic(lab: Lab, host: str, nic: Interface) -> str:
    """Return why a NIC of the lab file cannot be found on the host."""
    if device := vlan_device(lab, lab.hosts[host], nic):
        return f"{host} has no {device} with the MAC {nic.mac} ({lab.networks[nic.network].kind})"
    known = f"the MAC {nic.mac}" if nic.mac else f"an address of {nic.name}, and no `mac` is named"
    return f"no NIC of {host} has {known}"


def expected_addresses(nic: Interface) -> str:
    """Return the expected column of a NIC's row."""
    return " ".join(map(str, addresses_of(nic))) or (_ANY if _is_leased(nic) or nic.leases(6) else "none")


def _is_leased(nic: Interface) -> bool:
    """Tell whether any address that a DHCP server gives the NIC is right."""
    properties = nic_properties(nic, 4)
    return (properties.is_automatic and not nic.dhcp) or (
        nic.dhcp and nic.ipv4 is None and not properties.has_none
    )


def address_rows(lab: Lab, host: str, capture: Capture) -> Iterator[Outcome]:
    """Yield one row per NIC: the permanent addresses it should have, and no others."""
    for nic in lab.hosts[host].interfaces:
        link = capture.links.get(nic.mac)
        if link is None:
            actual, why = "absent", no_nic(lab, host, nic)
        else:
            actual, why = _addresses(lab, host, capture, nic, link)
        status = Status.FAILED if why else Status.OK
        about = Nic(host, nic.name)
        hand: tuple[str, ...] = ()
        if why:
            hand = address_commands(nic, link, leased=_is_leased(nic), mtu=_expected_mtu(lab, host, nic))
        meant = expected_addresses(nic)
        yield Outcome(host, "address", nic.name, status, meant, actual, why, subject=about, by_hand=hand)


def _addresses(lab: Lab, host: str, capture: Capture, nic: Interface, link: Link) -> tuple[str, str]:
    """Return the NIC's actual state, and the fault in it ("" = none)."""
    want = addresses_of(nic)
    have = {*link.settled, *link.fleeting}
    leased = _is_leased(nic)
    given = (
        [address for address in link.settled if address.version == 4 and address not in want]
        if leased
        else []
    )
    surplus = [address for address in link.settled if address not in want and address not in given]
    shown = [address for address in want if address in have] + given
    other = next((address for address in surplus for meant in want if address.ip == meant.ip), None)
    why = ""
    if not link.is_up:
        why = f"{link.name} is down"
    elif not link.has_arp:
        why = f"ARP is switched off on {link.name}"
    elif other is not None:
        why = f"{link.name} has it with another prefix: /{other.network.prefixlen}"
    elif link.port_of:
        # A bond leaves it down, and with other addresses than it had.
        release = f"`ip link set dev {link.name} nomaster`, then `labrun configure`"
        why = f"{link.name} is a port of {link.port_of}: {release}"
    elif len(shown) < len(want) or (leased and not shown):
        off = (
            ipv6_off(capture, link)
            if any(address.version == 6 and address not in have for address in want)
            else None
        )
        undo = off and f"{off}: `sysctl -w {off.replace(' is 1', '=0')}`, then `labrun configure`"
        useless = next((text for each, text in link.unusable if each in want), "")
        why = undo or f"{link.name} {f'cannot use it: {useless}' if useless else 'does not have it'}"
    elif link.burned_in and not is_mac_set(nic):
        undo = f"`ip link set dev {link.name} address {link.burned_in}`"
        why = f"{link.name} has the MAC {link.mac}, not its own: {undo}"
    elif taken := _claimed(lab, capture, want):
        why = taken
    elif surplus:
        why = "one too many: " + " ".join(_of_whom(lab, host, address) for address in surplus)
    elif (mtu := _expected_mtu(lab, host, nic)) is not None and link.mtu not in (None, mtu):
        why = f"{link.name} has the MTU {link.mtu}, not {mtu}"
    elif mtu is not None and (small := _small_for_ipv6(capture, nic, link, mtu)):
        why = small
    return " ".join(str(address) for address in (*shown, *surplus)) or "none", why


def _small_for_ipv6(capture: Capture, nic: Interface, link: Link, mtu: int) -> str:
    """Return the setting by which IPv6 packets have to be smaller than others, empty if there is none."""
    found = mtu_of_ipv6(capture, link)
    if found is None or found >= mtu or any(prop.startswith("ipv6.mtu") for prop in nic.nmcli):
        return ""
    if not any(each.version == 6 for each in addresses_of(nic)):
        return ""
    key = f"net.ipv6.conf.{link.name}.mtu"
    return f"{key} is {found}, not {mtu}: `sysctl -w {key}={mtu}`"


def _claimed(lab: Lab, capture: Capture, want: Sequence[IPv4Interface | IPv6Interface]) -> str:
    """Return which of the addresses somebody else answers for as well, empty if there is none."""
    others = capture.facts.once(claims)
    taken = [(mine.ip, others[mine.ip]) for mine in want if mine.ip in others]
    names = {nic.mac: host for host in lab.hosts.values() for nic in host.interfaces}
    found = []
    for address, mac in taken:
        owner = names.get(mac)
        found.append(f"{mac}{f' ({owner.name})' if owner else ''} answers for {address} as well")
    return "; ".join(found)


def _of_whom(lab: Lab, host: str, address: IPv4Interface | IPv6Interface) -> str:
    owner = wiring(lab, 4 if address.version == 4 else 6).owner.get(address.ip)
    return f"{address}, which is {owner}'s" if owner not in (None, host) else str(address)


def _expected_mtu(lab: Lab, host: str, nic: Interface) -> int | None:
    """Return the MTU that the NIC must have; None on a network that the lab does not define."""
    given = mtu_of(nic)
    if given is not None:
        return given or None
    network = lab.networks[nic.network]
    foreign = lab.hosts[host].machine is None or network.is_beyond
    return None if foreign else network.mtu or LARGEST
