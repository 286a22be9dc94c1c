"""All machines that are plugged into a network now, by the network's ports."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, translated, unless_gone
from labrun.tasks.provision.domains import tagged_domains
from labrun.tasks.provision.driver_registry import lab_drivers
from labrun.tasks.provision.network_settings import HEALTH, LIVE
from labrun.tasks.provision.objects import Busy, Plan, Spec
from labrun.tasks.provision.reconnect import can_reconnect

__all__ = ["cuts_off", "foreign_guests", "port_owner"]

_SUBNETS = frozenset({"ipv4", "ipv6"})


def cuts_off(uri: str, spec: Spec, plan: Plan, busy: Busy) -> str:
    """Return why a network is not restarted: what that would cut off; empty if nothing.

    Where guests can be connected again, the lab's own are, except hosts that are not part of this run and
    would keep an address of the former subnet. Guests of others are only touched to mend what is broken
    for them as well. Raises HypervisorError.
    """
    if plan.action != "restart":
        return ""
    changed = plan.item.differences.keys()
    reconnects = can_reconnect(uri)
    if reconnects and not changed - HEALTH - LIVE:
        return ""
    moves = bool(changed & _SUBNETS)
    foreign = foreign_guests(uri, spec.lab, spec.full_name)
    own = (*busy.chosen, *busy.others) if not reconnects else busy.others if moves else ()
    if not own and not foreign:
        return ""
    whom = [*own, *(f"{name} (not this lab's)" for name in foreign)]
    cures = []
    if own:
        cures.append(f"name {', '.join(own)} in --hosts as well" if reconnects else "`labrun stop`")
    if foreign:
        cures.append(f"stop or unplug {', '.join(foreign)}")
    first = ", ".join(cures)
    return f"it has to be restarted, which would cut off {', '.join(whom)}: {first}, then `labrun up`"


def foreign_guests(uri: str, lab: str, network: str) -> tuple[str, ...]:
    """Return the running domains on a network (by its libvirt name) that are not the lab's.

    Raises HypervisorError.
    """
    import libvirt

    with translated("network"):
        owners = dict(_owners(connect(uri), network))
    if not owners:
        return ()
    foreign: set[str] = set()
    for _, driver_uri in lab_drivers(uri):
        try:
            connection = connect(driver_uri)
        except HypervisorError:
            # No machine can be under a driver that is not there.
            continue
        own = {
            domain.UUIDString()
            for domain, tag, _ in tagged_domains(connection, lab)
            if tag.fits(domain.name())
        }
        with translated("network"):
            # A port outlives its machine if libvirtd was killed.
            active = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        running = {domain.UUIDString() for domain in active}
        foreign |= {owners[uuid] for uuid in owners.keys() & running - own}
    return tuple(sorted(foreign))


def _owners(connection: Any, name: str) -> Iterator[tuple[str, str]]:
    import libvirt

    try:
        network = connection.networkLookupByName(name)
        if network.isActive():
            for port in network.listAllPorts():
                xml = None
                with unless_gone():
                    xml = port.XMLDesc()
                if xml is not None:
                    yield port_owner(xml)
    except libvirt.libvirtError as error:
        # The network or the port is gone meanwhile, or this driver has no ports.
        gone = (libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_NO_NETWORK_PORT, libvirt.VIR_ERR_NO_SUPPORT)
        if error.get_error_code() not in gone:
            raise


def port_owner(xml: str) -> tuple[str, str]:
    """Return (UUID, name) of the domain that a port's XML says it belongs to."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    return root.findtext("./owner/uuid", "").strip(), root.findtext("./owner/name", "").strip()
