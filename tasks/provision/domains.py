"""Operations on a libvirt domain for both drivers: find it, check its tag, read its NICs, make it run."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import translated
from labrun.ownership import Tag, read_tag
from labrun.rendering import render_xml
from labrun.tasks.provision.driver import MachineSpec, NicSpec, tap_name
from labrun.tasks.provision.owned import Kind, find_own, tagged_for

__all__ = [
    "as_running",
    "beyond_memory",
    "define_again",
    "find_domain",
    "network_in",
    "nic_key",
    "nic_xml",
    "nics_in",
    "nics_of",
    "nics_text",
    "plugged_nics",
    "pull_the_plug",
    "run_again",
    "state_of",
    "tag_of",
    "tagged_domains",
    "undefine_wholly",
    "undefined",
    "wait_until_off",
]

_POLL = 0.1
_KIND = Kind(
    "domain",
    "machine",
    "lookupByName",
    "VIR_ERR_NO_DOMAIN",
    "rename the lab or the host, or inspect it with",
    "dumpxml",
)


def find_domain(connection: Any, name: str, lab: str) -> Any:
    """Return the lab's domain of that name, None if there is none.

    Raises ForeignObjectError if the domain belongs to another lab or was not created by labrun.
    """
    return find_own(connection, _KIND, name, tagged_for(lab))


def tagged_domains(connection: Any, lab: str | None = None) -> list[tuple[Any, Tag, str]]:
    """Return (domain, tag, inactive XML) of every domain of the lab, of every lab for None."""
    import libvirt

    found = []
    with translated("domains"):
        for domain in connection.listAllDomains():
            try:
                flags = libvirt.VIR_DOMAIN_XML_INACTIVE if domain.isPersistent() else 0
                xml = domain.XMLDesc(flags)
            except libvirt.libvirtError as error:
                # It was removed between the listing and the lookup.
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    continue
                raise
            tag = read_tag(xml)
            if tag is not None and (lab is None or tag.lab == lab):
                found.append((domain, tag, xml))
    return found


def tag_of(domain: Any) -> Tag:
    """Return the tag of a domain. Raises HypervisorError if it has none."""
    tag = read_tag(domain.XMLDesc(0))
    if tag is None:
        raise HypervisorError(
            f"the domain {domain.name()} is not labrun's", step="machine", hint="labrun leaves it alone"
        )
    return tag


def state_of(domain: Any) -> str:
    """Return ``running``, ``paused``, ``shut off`` or ``crashed``."""
    import libvirt

    state = domain.state()[0]
    if state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED, libvirt.VIR_DOMAIN_SHUTDOWN):
        return "running"
    if state in (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED):
        return "paused"
    return "crashed" if state == libvirt.VIR_DOMAIN_CRASHED else "shut off"


def run_again(domain: Any, create: Callable[[], object]) -> None:
    """Make a domain run, whatever state it is in; ``create()`` starts it where it is off.

    One that is paused or suspended goes on where it was. Raises libvirtError.
    """
    import libvirt

    try:
        state = domain.state()[0]
        if not domain.isActive():
            create()
        elif state == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        elif state == libvirt.VIR_DOMAIN_PMSUSPENDED:
            domain.pMWakeup()
        elif state == libvirt.VIR_DOMAIN_CRASHED:
            # It is kept for whoever looks into the crash; nothing in it can go on.
            domain.destroy()
            create()
    except libvirt.libvirtError:
        # It may have been started between the check and the call.
        if state_of(domain) != "running":
            raise


def nics_of(xml: str) -> tuple[NicSpec, ...]:
    """Return the NICs of a domain's XML, in its order."""
    return nics_in(ET.fromstring(xml))  # noqa: S314 - libvirt's own output


def nics_in(root: ET.Element) -> tuple[NicSpec, ...]:
    """Return the NICs of a domain's parsed XML, in its order."""
    found = []
    for element in root.findall("./devices/interface"):
        mac, source, mtu = element.find("mac"), element.find("source"), element.find("mtu")
        reference, target = element.find("filterref"), element.find("target")
        model = element.find("model")
        kind = "" if model is None else model.get("type", "")
        address = "" if mac is None else mac.get("address", "").lower()
        device = "" if target is None else target.get("dev", "")
        found.append(
            NicSpec(
                mac=address,
                source="" if source is None else source.get("network", ""),
                mtu=None if mtu is None else int(mtu.get("size", "0")),
                filter="" if reference is None else reference.get("filter", ""),
                device=device if device == tap_name(address) else "",
                model="" if kind == "virtio" else kind,
            )
        )
    return tuple(found)


def nics_text(nics: tuple[NicSpec, ...]) -> str:
    """Return NICs as comparable text, in order: ``mac@network``, with a filter ``mac@network+filter``.

    ``%device`` is the name that labrun gave the NIC's end on the hypervisor, ``=model`` what a VM sees.
    """
    return " ".join(map(_nic_text, nics))


def _nic_text(nic: NicSpec) -> str:
    filtered = f"+{nic.filter}" if nic.filter else ""
    device = f"%{nic.device}" if nic.device else ""
    return f"{nic.mac}@{nic.source}{filtered}{device}" + (f"={nic.model}" if nic.model else "")


def network_in(word: str) -> str:
    """Return the network in one word of :func:`nics_text`."""
    return re.split(r"[+%=]", word.partition("@")[2], maxsplit=1)[0]


def nic_key(nic: NicSpec) -> tuple[str, ...]:
    """Return what a plugged NIC cannot change: one that differs in it is unplugged and plugged in again."""
    return nic.mac, nic.source, nic.filter, nic.device, nic.model


def as_running(wanted: Iterable[NicSpec], there: Iterable[NicSpec]) -> tuple[NicSpec, ...]:
    """Return NICs as a running machine can have them: each that is there keeps its model.

    A guest that finds another device in place of its NIC would have no address until it boots.
    """
    models = {nic.mac: nic.model for nic in there}
    return tuple(replace(nic, model=models.get(nic.mac, nic.model)) for nic in wanted)


def plugged_nics(domain: Any, defined: tuple[NicSpec, ...]) -> tuple[NicSpec, ...]:
    """Return the NICs that a running domain has now, in the order of its definition.

    They are matched by MAC: on some networks the running domain's XML names a bridge instead of the
    network. A NIC whose network was stopped or restarted is still there, but no longer plugged in.
    """
    now = {nic.mac: nic for nic, port in _ports(domain.XMLDesc(0)) if _is_plugged(domain, nic, port)}
    known = {nic.mac for nic in defined}
    return (
        *(nic for nic in defined if nic.mac in now),
        *(nic for mac, nic in now.items() if mac not in known),
    )


def _ports(xml: str) -> list[tuple[NicSpec, str]]:
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    sources = (nic.find("source") for nic in root.iterfind("./devices/interface"))
    ports = ["" if source is None else source.get("portid", "") for source in sources]
    return list(zip(nics_in(root), ports, strict=True))


def _is_plugged(domain: Any, nic: NicSpec, port: str) -> bool:
    import libvirt

    if not (nic.source and port):
        return True
    try:
        domain.connect().networkLookupByName(nic.source).portLookupByUUIDString(port)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_NO_NETWORK_PORT):
            return False
        raise
    return True


def nic_xml(nic: NicSpec, model: str | None = None) -> str:
    """Return the ``<interface>`` element of a NIC; ``model`` is ``virtio`` for a VM."""
    return render_xml(
        "libvirt/nic.xml.j2",
        mac=nic.mac,
        source=nic.source,
        device=nic.device,
        filter=nic.filter,
        model=model,
        mtu=nic.mtu if model else None,
    )


def wait_until_off(domain: Any, timeout: float) -> bool:
    """Poll until the domain is off; return False if ``timeout`` seconds pass first."""
    deadline = time.monotonic() + timeout
    while _is_active(domain):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


def pull_the_plug(domain: Any) -> bool:
    """Power a domain off; return False if it was off, or went off meanwhile. Raises libvirtError."""
    import libvirt

    try:
        if not _is_active(domain):
            return False
        domain.destroy()
    except libvirt.libvirtError:
        if _is_active(domain):
            raise
        return False
    return True


def _is_active(domain: Any) -> bool:
    import libvirt

    try:
        return bool(domain.isActive())
    except libvirt.libvirtError as error:
        # A transient domain is gone once it is off.
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise


def define_again(domain: Any) -> None:
    """Define a running domain that somebody undefined, so that stopping does not lose it."""
    import libvirt

    if domain.isActive() and not domain.isPersistent():
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        domain.connect().defineXML(domain.XMLDesc(flags))


def undefined(undefine: Callable[[], object]) -> None:
    """Call ``undefine()``; no error if the domain was transient and is gone."""
    import libvirt

    try:
        undefine()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def undefine_wholly(domain: Any) -> None:
    """Delete a VM's definition with its NVRAM, its saved state and libvirt's snapshot metadata."""
    import libvirt

    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )
    undefined(lambda: domain.undefineFlags(flags))


def beyond_memory(connection: Any, spec: MachineSpec) -> str:
    """Return that a machine has more memory than the hypervisor, empty if it has not. Raises libvirtError."""
    total = int(connection.getInfo()[1])
    return f"{spec.memory} MiB of memory, and the hypervisor has {total}" if spec.memory > total else ""


def require(domain: Any, name: str) -> Any:
    """Return the domain. Raises HypervisorError if it is None."""
    if domain is None:
        raise HypervisorError(
            f"the domain {name} does not exist", step="machine", hint="`labrun up` makes it"
        )
    return domain
