"""Read the definitions of all domains and networks of a libvirt, for `init --from URI`."""

from __future__ import annotations

from labrun.hypervisor import connect, networks_of, translated, unless_gone
from labrun.inventory.starting.libvirt_xml import Described
from labrun.ownership import read_tag

__all__ = ["described"]

_INACTIVE = 2  # VIR_DOMAIN_XML_INACTIVE


def described(uri: str) -> tuple[list[Described], list[Described]]:
    """Return the domains and the networks at a URI, by name. Nothing is changed. Raises HypervisorError."""
    with translated("init"):
        connection = connect(uri)
        networks = [_described(network.name(), xml) for network, xml in networks_of(connection)]
        domains = []
        for domain in connection.listAllDomains():
            with unless_gone():
                domains.append(_described(domain.name(), str(domain.XMLDesc(_INACTIVE))))
    return sorted(domains, key=lambda each: each.name), sorted(networks, key=lambda each: each.name)


def _described(name: str, xml: str) -> Described:
    tag = read_tag(xml)
    return Described(name, xml, tag.lab if tag is not None else None)
