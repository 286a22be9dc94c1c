"""The addresses that guests hold now: DHCP leases of libvirt first, then what the guests themselves have."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from labrun.bounded import address, integer
from labrun.containers import addresses_inside
from labrun.errors import HypervisorError
from labrun.hypervisor import connect, translated
from labrun.ports import Lease

__all__ = ["LibvirtLeases", "addresses_of_guest"]

_log = logging.getLogger(__name__)
_AGENT = "./devices/channel/target[@name='org.qemu.guest_agent.0'][@state='connected']"


@dataclass(frozen=True, slots=True)
class LibvirtLeases:
    """A :class:`labrun.ports.LeaseSource` over one libvirt URI; with ``agents``, guests are looked into too.

    A VM's agent is asked, and a container's network namespace is entered; both also of the other driver on
    the same machine, since a lab may have hosts under each.
    """

    uri: str
    agents: bool = True

    def leases(self, networks: Iterable[str]) -> tuple[Lease, ...]:
        """Return leases, newest first, then the addresses inside of guests without a lease.

        ``networks`` are libvirt names; a network that is missing or stopped has no leases. An agent that
        does not answer is skipped. Raises HypervisorError.
        """
        import libvirt

        names = set(networks)
        leases: list[Lease] = []
        with translated("leases"):
            connection = connect(self.uri)
            active = libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE
            for network in connection.listAllNetworks(active):
                if network.name() in names:
                    leases += _of_network(network)
        known = {lease.mac for lease in leases}
        for uri in _with_other_driver(self.uri) if self.agents else ():
            leases += _of_guests(uri, names, known, must_answer=uri == self.uri)
        return tuple(leases)


def addresses_of_guest(uri: str, domain: str) -> tuple[Lease, ...]:
    """Return the addresses inside one guest, none if it is off or does not answer. Raises HypervisorError."""
    import libvirt

    with translated("leases"):
        connection = connect(uri)
        try:
            return tuple(_of_guest(connection.lookupByName(domain), connection.getType(), None, ()))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return ()


def _with_other_driver(uri: str) -> tuple[str, ...]:
    other = {"lxc:///system": "qemu:///system", "qemu:///system": "lxc:///system"}.get(uri)
    return (uri,) if other is None else (uri, other)


def _of_guests(uri: str, networks: set[str], known: set[str], *, must_answer: bool) -> list[Lease]:
    import libvirt

    try:
        with translated("leases"):
            connection = connect(uri)
            running = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)
            kind = connection.getType()
    except HypervisorError:
        if must_answer:
            raise
        # No guest can be under a driver that is not there.
        return []
    return [lease for domain in running for lease in _of_guest(domain, kind, networks, known)]


def _of_guest(domain: Any, kind: str, networks: set[str] | None, known: Collection[str]) -> Iterator[Lease]:
    """Yield the addresses of a guest with a NIC on ``networks`` (None = any) that is not ``known`` yet."""
    import libvirt

    try:
        root = ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's own output
        if not _has_unknown_nic(root, networks, known):
            return
        if kind == "LXC":
            for mac, found in addresses_inside(domain.ID()):
                yield Lease(mac, found, "agent")
        elif root.find(_AGENT) is not None:
            yield from _of_agent(domain)
    except libvirt.libvirtError as error:
        # The guest may be booting, or gone since it was listed; the other replies still count.
        _log.debug("%s: cannot be inspected: %s", domain.name(), error)


def _of_network(network: Any) -> Iterator[Lease]:
    import libvirt

    try:
        leases = network.DHCPLeases()
    except libvirt.libvirtError as error:
        # A network without DHCP, or one that is being stopped right now.
        _log.debug("%s: no leases: %s", network.name(), error)
        return
    for lease in sorted(leases, key=lambda lease: integer(lease["expirytime"]) or 0, reverse=True):
        given = address(lease.get("ipaddr"))
        if lease.get("mac") and given is not None:
            yield Lease(str(lease["mac"]).lower(), given, "lease")


def _of_agent(domain: Any) -> Iterator[Lease]:
    import libvirt

    interfaces = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
    for interface in interfaces.values():
        for entry in interface.get("addrs") or ():
            # A link-local address may carry its zone, and a guest's reply is not trusted.
            plain = address(entry.get("addr"))
            if interface.get("hwaddr") and plain is not None:
                yield Lease(str(interface["hwaddr"]).lower(), plain, "agent")


def _has_unknown_nic(root: ET.Element, networks: set[str] | None, known: Collection[str]) -> bool:
    for nic in root.iterfind("./devices/interface"):
        source, mac = nic.find("source"), nic.find("mac")
        # On a bridge-mode network, the XML of a running guest may name only the bridge.
        name = source.get("network") if source is not None else None
        address = mac.get("address", "").lower() if mac is not None else ""
        if (name is None or networks is None or name in networks) and address not in known:
            return True
    return False
