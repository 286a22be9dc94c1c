"""The addresses that guests hold now, as libvirt knows them: DHCP leases first, then guest agents."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from labrun.bounded import address, integer
from labrun.hypervisor import connect, translated
from labrun.ports import Lease

__all__ = ["LibvirtLeases"]

_log = logging.getLogger(__name__)
_AGENT = "./devices/channel/target[@name='org.qemu.guest_agent.0'][@state='connected']"


@dataclass(frozen=True, slots=True)
class LibvirtLeases:
    """A :class:`labrun.ports.LeaseSource` over one libvirt URI; with ``agents``, guests are queried too."""

    uri: str
    agents: bool = True

    def leases(self, networks: Iterable[str]) -> tuple[Lease, ...]:
        """Return leases, newest first, then the addresses that agents of guests without a lease report.

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
            # Containers have no agent.
            if self.agents and connection.getType() != "LXC":
                known = {lease.mac for lease in leases}
                running = libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING
                for domain in connection.listAllDomains(running):
                    leases += _of_agent(domain, names, known)
        return tuple(leases)


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


def _of_agent(domain: Any, networks: set[str], known: set[str]) -> Iterator[Lease]:
    import libvirt

    try:
        root = ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's own output
        if not _has_unknown_nic(root, networks, known) or root.find(_AGENT) is None:
            return
        source = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
        interfaces = domain.interfaceAddresses(source)
    except libvirt.libvirtError as error:
        # The guest may be booting, or gone since it was listed; the other replies still count.
        _log.debug("%s: no answer from the agent: %s", domain.name(), error)
        return
    for interface in interfaces.values():
        for entry in interface.get("addrs") or ():
            # A link-local address may carry its zone, and a guest's reply is not trusted.
            plain = address(entry.get("addr"))
            if interface.get("hwaddr") and plain is not None:
                yield Lease(str(interface["hwaddr"]).lower(), plain, "agent")


def _has_unknown_nic(root: ET.Element, networks: set[str], known: set[str]) -> bool:
    for nic in root.iterfind("./devices/interface"):
        source, mac = nic.find("source"), nic.find("mac")
        # On a bridge-mode network, the XML of a running guest may name only the bridge.
        name = source.get("network") if source is not None else None
        address = mac.get("address", "").lower() if mac is not None else ""
        if (name is None or name in networks) and address not in known:
            return True
    return False
