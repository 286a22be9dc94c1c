"""The addresses of guests that DHCP servers of others have given: only the guests themselves know them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labrun.bounded import objects, read_json
from labrun.errors import LabrunError
from labrun.hypervisor import connect, translated
from labrun.inventory.hosts.leases import LibvirtLeases
from labrun.ports import Lease, Transport
from labrun.tasks.guest.facts.links import nics_by_mac, parse_links
from labrun.tasks.provision.namespace import NamespaceTransport

__all__ = ["MachineLeases", "address_inside"]

_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class MachineLeases:
    """A :class:`labrun.ports.LeaseSource`: libvirt's leases and agents, then what containers show inside.

    A container is looked into if it has a NIC on one of the networks that nothing else tells of.
    """

    uri: str
    lab: str

    def leases(self, networks: Iterable[str]) -> tuple[Lease, ...]:
        """Return the leases. Raises HypervisorError."""
        names = set(networks)
        found = LibvirtLeases(self.uri).leases(names)
        connection = connect(self.uri)
        if connection.getType() != "LXC":
            return found
        # Rendering XML, which this brings with it, takes longer to import than all the rest here.
        from labrun.tasks.provision.domains import nics_of, state_of, tagged_domains

        known = {lease.mac for lease in found}
        inside: list[Lease] = []
        for domain, tag, xml in tagged_domains(connection, self.lab):
            unknown = {nic.mac for nic in nics_of(xml) if nic.source in names and nic.mac not in known}
            with translated("leases", tag.host):
                running = bool(unknown) and state_of(domain) == "running"
            if running:
                inside += _inside(NamespaceTransport(tag.host, domain.ID()), unknown)
        return (*found, *inside)


def _inside(transport: Transport, macs: Iterable[str]) -> list[Lease]:
    try:
        done = transport.run("ip -d -j address", timeout=_SECONDS)
        nics = nics_by_mac(parse_links(objects(read_json(done.stdout, "ip address"), "ip address", "links")))
    except LabrunError:
        return []  # its rows say that it has no lease
    return [
        Lease(mac, held.interface.ip, "agent")
        for mac in macs
        if mac in nics
        for held in nics[mac].held
        if not held.is_fleeting
    ]


def address_inside(transport: Transport | None, mac: str) -> str | None:
    """Return the first address of a NIC as the guest itself shows it, IPv4 before IPv6."""
    found = _inside(transport, (mac,)) if transport is not None else []
    best = min(found, key=lambda lease: lease.address.version, default=None)
    return str(best.address) if best is not None else None
