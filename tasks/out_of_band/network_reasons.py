"""Why no packet of a login gets to a host or back: its NIC, address and routes, from outside in."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.model import Address, Interface, Lab
from labrun.inventory.topology.wiring import Version, wiring
from labrun.tasks.collect.filter_causes import (
    best_routes,
    kept_here,
    policy_findings,
    reverse_path,
)
from labrun.tasks.collect.nic_causes import ipv6_off, nic_name
from labrun.tasks.guest.facts.links import Link
from labrun.tasks.guest.reason import Reason
from labrun.tasks.out_of_band.attempt import Port
from labrun.tasks.out_of_band.seen import Seen, as_reasons

__all__ = ["hypervisor_reasons", "nic_reasons", "way_back_reasons"]

_NM, _NETWORKD = "NetworkManager.service", "systemd-networkd.service"
_UNAVAILABLE, _DISCONNECTED, _PREPARE, _ACTIVATED = 20, 30, 40, 100
_TOO_SMALL = 576
"""Below this MTU, in bytes, no host has to take an IPv4 packet whole; an SSH handshake needs more."""


def hypervisor_reasons(seen: Seen) -> Iterator[Reason]:
    """Yield what is wrong on the hypervisor: the network, its bridge, its end of the NIC."""
    outside, nic = seen.outside, seen.nic
    if nic is None:
        return
    if nic.network in outside.stopped:
        yield Reason(f"the network {nic.network} is not running on the hypervisor: `labrun up` starts it")
        return
    if outside.ports is not None:
        port = outside.ports.get(nic.mac)
        if port is None:
            yield Reason(f"the machine has no NIC on {nic.name} any more: it was unplugged")
            return
        yield from _port_reasons(seen, port)
    if nic.network in outside.unaddressed:
        bridge = outside.unaddressed[nic.network]
        yield Reason(f"the hypervisor has no address on {nic.network} ({bridge})")
    if seen.has_impostor:
        who = _owner_of(seen.lab, outside.answers, outside.answerer)
        yield Reason(f"{seen.attempt.address} is answered by {who}")


def _owner_of(lab: Lab, mac: str, machine: str) -> str:
    for name, host in lab.hosts.items():
        if any(nic.mac == mac for nic in host.interfaces):
            return f"{name} ({mac})"
    if machine.startswith(f"{lab.name}-"):
        gone = machine.removeprefix(f"{lab.name}-")
        return f"{gone}, a machine of this lab that the file no longer has (`labrun up --prune` removes it)"
    return f"the machine {machine} ({mac})" if machine else f"something else, with the MAC {mac}"


def _port_reasons(seen: Seen, port: Port) -> Iterator[Reason]:
    what = f"{port.device}, the hypervisor's end of {seen.device}," if port.device else seen.device
    if port.is_cut:
        yield Reason(f"the link of {seen.device} is set down on the hypervisor (`virsh domif-setlink`)")
    elif not port.is_up:
        yield Reason(f"{what} is down")
    elif port.bridge is not None and port.meant is not None and port.bridge != port.meant:
        there = f"in {port.bridge}" if port.bridge else "in no bridge"
        yield Reason(f"{what} is {there}, not in {port.meant} ({seen.nic.network if seen.nic else ''})")
    elif port.state in ("disabled", "blocking") and (
        seen.link.is_on if seen.link else not seen.capture.links
    ):
        # A port without a carrier is disabled, too.
        yield Reason(f"{what} is {port.state} as a port of {port.bridge}")


def nic_reasons(seen: Seen) -> Iterator[Reason]:
    """Yield what is wrong with the NIC itself and its addresses."""
    nic, link, capture = seen.nic, seen.link, seen.capture
    if nic is None:
        return
    if link is None:
        yield Reason(_absent(seen, nic))
        return
    if not link.is_on:
        yield Reason(f"{link.name} is down{_profile_note(seen, nic)}")
        return
    if link.port_of:
        yield Reason(f"{link.name} is a port of {link.port_of}: `ip link set dev {link.name} nomaster`")
        return
    if not link.is_up:
        yield Reason(f"{link.name} has no carrier: nothing is at the other end")
    if not link.has_arp:
        yield Reason(f"ARP is switched off on {link.name}")
    address = seen.attempt.address
    version = address.version if address is not None else 4
    held = [each.interface for each in link.held if each.interface.version == version]
    off = ipv6_off(capture, link) if version == 6 else None
    if off is not None:
        yield Reason(off)
    elif (address is not None or not held) and all(each.ip != address for each in held):
        yield _unaddressed(seen, nic, link, address, [str(each) for each in held])
    if version == 4:
        for which in ("all", link.name):
            if capture.evidence.setting(f"conf/{which}/arp_ignore") == 8:
                yield Reason(f"net.ipv4.conf.{which}.arp_ignore is 8: it answers no ARP")
    inward = seen.inward
    if inward is not None:
        yield from as_reasons(kept_here(seen.shown, inward, last=True))
    for line in seen.login.qdiscs:
        if f" dev {link.name} " in f"{line} " and "loss 100%" in line:
            yield Reason(f"tc loses every packet on {link.name}: {line}")
    if link.mtu is not None and link.mtu < _TOO_SMALL:
        yield Reason(f"{link.name} has the MTU {link.mtu}: an SSH handshake does not fit")


def _absent(seen: Seen, nic: Interface) -> str:
    known = {each.mac for each in seen.lab.hosts[seen.host].interfaces}
    others = [
        link
        for mac, link in seen.capture.links.items()
        if mac not in known and not link.is_stacked and link.name != "lo"
    ]
    if len(others) == 1:
        other = others[0]
        undo = f"`ip link set dev {other.name} address {nic.mac}`"
        return f"{other.name} has the MAC {other.mac}, not {nic.mac}: {undo}"
    absent = f"no NIC of {seen.host} has the MAC {nic.mac} ({nic.name})"
    if nic.model in (None, "virtio"):
        return absent
    return f"{absent}: its kernel may have no driver for {nic.model} (remove `model`, or take another image)"


def _unaddressed(seen: Seen, nic: Interface, link: Link, address: Address | None, held: list[str]) -> Reason:
    elsewhere = [
        device.name
        for device in (*seen.capture.links.values(), *seen.capture.devices)
        if address is not None
        and device.name != link.name
        and any(each.interface.ip == address for each in device.held)
    ]
    if elsewhere:
        return Reason(f"{address} is on {elsewhere[0]}, not on {link.name}")
    note = _profile_note(seen, nic)
    if held and address is not None:
        owners = wiring(seen.lab, _version(address)).owner
        whose = [owners.get(each.interface.ip) for each in link.held]
        of = "".join(f", which is {owner}'s" for owner in whose if owner not in (None, seen.host))
        return Reason(f"{link.name} has {' '.join(held)}{of}, not {address}{note}")
    return Reason(f"{link.name} has no address{note}", is_sure=not _is_waiting(seen, nic))


def _is_waiting(seen: Seen, nic: Interface) -> bool:
    device = (seen.login.devices or {}).get(nic.mac)
    return device is not None and _PREPARE <= device.state < _ACTIVATED


def _profile_note(seen: Seen, nic: Interface) -> str:
    """Return what the manager of NICs makes of this one, in parentheses; empty if it is not known."""
    devices = seen.login.devices
    unit, other = seen.login.units.get(_NM), seen.login.units.get(_NETWORKD)
    if other is not None and other.load == "loaded" and not (unit is not None and unit.is_running):
        if other.is_running:
            return " (systemd-networkd runs, and has not set it)"
        if other.is_enabled:
            return f" (systemd-networkd is not running: {other.active})"
    if unit is not None and unit.load == "masked":
        return " (NetworkManager is masked)"
    if unit is not None and unit.load == "loaded" and not unit.is_running:
        return f" (NetworkManager is not running: {unit.active})"
    device = devices.get(nic.mac) if devices is not None else None
    if device is None:
        return ""
    if not device.is_managed:
        return " (NetworkManager does not manage it: unmanaged)"
    if device.state == _UNAVAILABLE:
        return " (to NetworkManager it is unavailable)"
    if _is_waiting(seen, nic):
        return f" ({_lease_note(seen, nic, device.profile_id)})"
    if device.profile is None or device.state <= _DISCONNECTED:
        return " (no profile is active on it)"
    return f" (profile {device.profile_id} is up without it)"


def _lease_note(seen: Seen, nic: Interface, profile: str) -> str:
    said = f"profile {profile} is waiting for a lease"
    if nic.network in seen.outside.silent:
        return f"{said}; the DHCP server of {nic.network} is not running: `labrun up` starts it"
    last = seen.outside.asked.get(nic.mac)
    return f"{said}; the DHCP server of {nic.network} " + (
        f"last saw it: {last}" if last else "has seen no request"
    )


def _whose(seen: Seen) -> str:
    through = seen.attempt.through
    return f"the jump host {through}" if through else "where labrun is"


def way_back_reasons(seen: Seen) -> Iterator[Reason]:
    """Yield why an answer does not get back to the hypervisor, or why none is given."""
    inward, outward, link = seen.inward, seen.outward, seen.link
    if inward is None or outward is None or link is None:
        return
    client = outward.target
    yield from as_reasons(policy_findings(seen.shown, outward))
    routes = best_routes(seen.capture.routes, client)
    if not routes:
        yield Reason(f"{_prefix_note(seen, link)}no route back to {client}, {_whose(seen)}")
    elif routes[0].kind != "unicast":
        article = "an" if routes[0].kind[0] in "aeiou" else "a"
        yield Reason(f"{article} {routes[0].kind} route to {routes[0].prefix}: no way back to {client}")
    else:
        yield from as_reasons(reverse_path(seen.shown, inward))
        wrong = [each for each in routes if each.device != link.name]
        if wrong:
            there = nic_name(seen.lab, seen.host, seen.capture, wrong[0].device)
            yield Reason(f"the route back to {client} leads out of {there}")
        elif routes[0].via is not None:
            yield Reason(f"the route back to {client} leads via {routes[0].via}", is_sure=False)
    known = seen.capture.evidence.neighbour(link.name, client)
    whose, meant = _mac_of_client(seen)
    if known is not None and known.mac is not None and meant and known.mac != meant:
        yield Reason(f"takes {client} to be at {known.mac}; {whose}'s MAC there is {meant}")


def _mac_of_client(seen: Seen) -> tuple[str, str]:
    """Return who dials the host, and the MAC of its NIC on the host's network; empty if that is not known."""
    network = seen.nic.network if seen.nic is not None else ""
    jump = seen.lab.hosts.get(seen.attempt.through)
    if jump is None:
        return "the hypervisor", seen.outside.macs.get(network, "")
    nic = next(iter(jump.nics_on(network)), None)
    return jump.name, nic.mac if nic is not None else ""


def _prefix_note(seen: Seen, link: Link) -> str:
    """Return, as the beginning of a reason, that the address has another prefix than in the file."""
    nic, address = seen.nic, seen.attempt.address
    meant = next(
        (each for each in ((nic.ipv4, nic.ipv6) if nic else ()) if each and each.ip == address), None
    )
    held = next((each.interface for each in link.held if each.interface.ip == address), None)
    if meant is None or held is None or held.network == meant.network:
        return ""
    return f"{link.name} has {held}, not /{meant.network.prefixlen}: "


def _version(address: Address) -> Version:
    return 4 if address.version == 4 else 6
