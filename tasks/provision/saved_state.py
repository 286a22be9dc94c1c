"""A VM that was saved (`virsh managedsave`) goes on, although its definition may have changed since."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection
from typing import Any

from labrun.errors import HypervisorError
from labrun.tasks.provision.domains import nic_key, nics_in, nics_of
from labrun.tasks.provision.machine_nics import replug

__all__ = ["go_on_from_saved", "is_saved", "moved"]

_ENDS = ("source", "target", "filterref", "link")


def is_saved(domain: Any) -> bool:
    """Tell whether a VM is off and its next start goes on from where it was saved. Raises libvirtError."""
    return not domain.isActive() and bool(domain.hasManagedSaveImage())


def go_on_from_saved(domain: Any, uri: str, run: Callable[[], None]) -> None:
    """Make a saved VM go on by ``run()``, with the NICs of its definition.

    Its saved state has the networks and filters from when it was saved; one of them may be gone. Raises
    HypervisorError if it cannot go on.
    """
    import libvirt

    inactive = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    try:
        saved = domain.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
        networks = {network.name() for network in domain.connect().listAllNetworks() if network.isActive()}
        wanted = moved(saved, inactive, networks)
        if wanted is not None:
            domain.managedSaveDefineXML(wanted)
        run()
    except libvirt.libvirtError as error:
        if domain.isActive():
            raise
        raise HypervisorError(
            f"it cannot go on from its saved state: {error.get_error_message()}",
            step="start",
            hint=f"`virsh -c {uri} managedsave-remove {domain.name()}` gives that state up, so that it boots",
        ) from error
    # What a saved state cannot take: another MAC or model, a NIC more or less.
    replug(domain, nics_of(inactive))


def moved(saved: str, defined: str, networks: Collection[str]) -> str | None:
    """Return the XML of a saved state with its NICs where the definition has those of the same MAC and model.

    One that the definition no longer has is held, with its link down, by one of the definition's networks if
    its own is not among those that run, ``networks``. None if nothing is to be changed.
    """
    root = ET.fromstring(saved)  # noqa: S314 - libvirt's own output
    source = ET.fromstring(defined)  # noqa: S314 - libvirt's own output
    plugs = list(zip(nics_in(source), source.iterfind("./devices/interface"), strict=True))
    wanted = {(nic.mac, nic.model): (nic_key(nic), element) for nic, element in plugs}
    changed = False
    for nic, element in zip(nics_in(root), root.findall("./devices/interface"), strict=True):
        key, model = wanted.get((nic.mac, nic.model), (None, None))
        is_lost = model is None and nic.source not in networks
        if is_lost and plugs:
            _plug(element, plugs[0][1], ("source",))
            ET.SubElement(element, "link", {"state": "down"})
        elif model is not None and key != nic_key(nic):
            _plug(element, model, _ENDS)
        else:
            continue
        changed = True
    return ET.tostring(root, encoding="unicode") if changed else None


def _plug(element: ET.Element, model: ET.Element, tags: Collection[str]) -> None:
    """Give an ``<interface>`` the other's ends, of these ``tags``, in place of all of its own."""
    element.set("type", model.get("type", "network"))
    for old in [each for tag in _ENDS for each in element.findall(tag)]:
        element.remove(old)
    for tag in tags:
        element.extend(model.findall(tag))
