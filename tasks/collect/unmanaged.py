"""The lab with the MACs reported by its existing machines, if the file gives none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from labrun.inventory.hosts.unmanaged import marked_nic, marks_of
from labrun.inventory.model import Host, Interface, Lab
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.judging import guarded

__all__ = ["with_seen_macs"]


def with_seen_macs(lab: Lab, captures: Mapping[str, Capture | Unreachable]) -> Lab:
    """Return the lab with each NIC's MAC as far as the captures reveal it; the same lab if none do.

    A NIC that no address identifies keeps its empty MAC, and its rows say so.
    """
    hosts = dict(lab.hosts)
    for name, host in lab.hosts.items():
        capture = captures.get(name)
        if isinstance(capture, Capture) and any(not nic.mac for nic in host.interfaces):
            # Without them the rows of its NICs say that no address identifies these.
            found = guarded(name, partial(_seen, lab, host, capture), lambda _why: ())
            hosts[name] = replace(host, interfaces=tuple(found)) if found else host
    return lab if hosts == dict(lab.hosts) else replace(lab, hosts=MappingProxyType(hosts))


def _seen(lab: Lab, host: Host, capture: Capture) -> list[Interface]:
    shown = {mac: (*link.settled, *link.fleeting) for mac, link in capture.links.items()}
    nics = []
    for nic in host.interfaces:
        marks = marks_of(host, nic, lab.networks[nic.network])
        nics.append(nic if nic.mac else replace(nic, mac=marked_nic(marks, shown) or ""))
    return nics
