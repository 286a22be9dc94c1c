"""NICs of existing machines as these reported them: without a MAC in the file, or in a bridge or bond."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from labrun.inventory.hosts.unmanaged import marked_nic, marks_of
from labrun.inventory.model import Host, Interface, Lab
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.guest.facts.links import Link
from labrun.tasks.judging import guarded

__all__ = ["with_own_devices", "with_seen_macs"]


def with_seen_macs(lab: Lab, captures: Mapping[str, Capture | Unreachable]) -> Lab:
    """Return the lab with each NIC's MAC as far as the captures reveal it; the same lab if none do.

    A NIC that no address identifies keeps its empty MAC, and its rows say so.
    """
    hosts = dict(lab.hosts)
    for name, host in lab.hosts.items():
        capture = captures.get(name)
        if isinstance(capture, Capture) and any(not nic.mac for nic in host.interfaces):
            # Without them the rows of its NICs say that no address identifies these.
            nics = guarded(name, partial(_seen, lab, host, capture), lambda _why: ())
            hosts[name] = replace(host, interfaces=tuple(nics)) if nics else host
    return lab if hosts == dict(lab.hosts) else replace(lab, hosts=MappingProxyType(hosts))


def with_own_devices(
    lab: Lab, captures: Mapping[str, Capture | Unreachable]
) -> Mapping[str, Capture | Unreachable]:
    """Return the captures, on existing machines with the device that has the addresses in the NIC's place.

    There a bridge or bond may be what is on a network, with the MAC of one of its ports.
    """
    matched = dict(captures)
    for name, host in lab.hosts.items():
        capture = captures.get(name)
        if host.address is not None and isinstance(capture, Capture):
            own = {
                link.mac: link for link in guarded(name, partial(_own, lab, host, capture), lambda _why: ())
            }
            if own:
                matched[name] = replace(capture, links=MappingProxyType({**capture.links, **own}))
    return matched


def _own(lab: Lab, host: Host, capture: Capture) -> list[Link]:
    """Return the devices that stand on others and have the addresses of a NIC of the file."""
    devices = {link.name: link for link in capture.devices if link.is_ethernet}
    devices_seen = []
    for nic in host.interfaces:
        port = capture.links.get(nic.mac)
        choice = devices if not nic.mac else {name: devices[name] for name in _above(port, devices)}
        marks = marks_of(host, nic, lab.networks[nic.network])
        name = marked_nic(marks, {name: (*link.settled, *link.fleeting) for name, link in choice.items()})
        if name is not None and devices[name].is_stacked:
            devices_seen.append(devices[name])
    return devices_seen


def _above(port: Link | None, devices: Mapping[str, Link]) -> tuple[str, ...]:
    return (port.port_of,) if port is not None and port.port_of in devices else ()


def _seen(lab: Lab, host: Host, capture: Capture) -> list[Interface]:
    shown = {mac: (*link.settled, *link.fleeting) for mac, link in capture.links.items()}
    nics = []
    for nic in host.interfaces:
        marks = marks_of(host, nic, lab.networks[nic.network])
        nics.append(nic if nic.mac else replace(nic, mac=marked_nic(marks, shown) or ""))
    return nics
