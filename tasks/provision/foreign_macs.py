"""MACs that running machines of others have: of two with one MAC on a network, none is found for certain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from labrun.errors import HypervisorError
from labrun.hypervisor import connect
from labrun.ownership import read_tag
from labrun.tasks.provision.domains import nics_of
from labrun.tasks.provision.driver_registry import lab_drivers

__all__ = ["foreign_macs", "mac_taken"]


def foreign_macs(uri: str, lab: str) -> Mapping[tuple[str, str], str]:
    """Return the running domains that are not the lab's, by each MAC and network (libvirt's name) they have.

    Raises libvirtError.
    """
    import libvirt

    found: dict[tuple[str, str], str] = {}
    for _, driver_uri in lab_drivers(uri):
        try:
            connection = connect(driver_uri)
        except HypervisorError:
            # The hypervisor lacks this driver, so it has no machines of it.
            continue
        for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            try:
                xml, name = domain.XMLDesc(0), domain.name()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    continue
                raise
            tag = read_tag(xml)
            if tag is None or tag.lab != lab or not tag.fits(name):
                found.update({(nic.mac, nic.source): name for nic in nics_of(xml)})
    return found


def mac_taken(nics: Iterable[tuple[str, str]], macs: Mapping[tuple[str, str], str]) -> str:
    """Return who has one of these MACs on the same network, empty if nobody has."""
    for mac, network in nics:
        if other := macs.get((mac, network)):
            return f"{other}, which is not this lab's, has the MAC {mac} on {network} (change `mac`)"
    return ""
