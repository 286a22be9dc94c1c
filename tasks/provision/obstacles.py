"""What `up` would be refused: names and subnets of others, a bridge or an image that is not there."""

from __future__ import annotations

import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from labrun.hypervisor import connect, is_local, networks_of, translated
from labrun.inventory.model import Lab, Mode, Network
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.ownership import Tag, read_tag
from labrun.tasks.provision.driver_registry import driver_for, driver_of
from labrun.tasks.provision.image_store import image_paths, source_of_image

__all__ = ["with_obstacles"]

_Item = tuple[str, str, str]


def with_obstacles(lab: Lab, uri: str, rows: Sequence[Outcome]) -> list[Outcome]:
    """Return the plan's rows; one that `up` could not carry out is failed, with the reason.

    Only what does not exist yet is looked at. Raises HypervisorError.
    """
    with translated("plan"):
        found = dict(_of_networks(lab, uri)) | dict(_of_machines(lab, uri))
    return [_failed(row, found.get((row.host, row.section, row.name))) for row in rows]


def _failed(row: Outcome, why: str | None) -> Outcome:
    if why is None or row.status is not Status.WOULD_CHANGE:
        return row
    return replace(row, status=Status.FAILED, actual=None, why=why, diff=None, hypervisor_fault=True)


def _of_networks(lab: Lab, uri: str) -> Iterator[tuple[_Item, str]]:
    connection = connect(uri)
    here = {str(network.name()): (network, xml) for network, xml in networks_of(connection)}
    for name, network in lab.networks.items():
        full = lab.libvirt_name(name)
        if full in here:
            tag = read_tag(here[full][1])
            why = None if tag is not None and tag.lab == lab.name else _taken("network", full, "net-dumpxml")
        else:
            why = _device(network, uri) or _subnet(lab, network, here)
        if why is not None:
            yield (HYPERVISOR, "network", name), why


def _taken(kind: str, full: str, virsh: str) -> str:
    hint = f"rename the lab, or look at it with `virsh {virsh} {full}`"
    return f"the {kind} {full} exists and is not this lab's ({hint})"


def _device(network: Network, uri: str) -> str | None:
    """Return what is missing of the hypervisor's own devices; unknown for another machine."""
    name = {Mode.BRIDGE: network.bridge, Mode.MACVTAP: network.dev}.get(network.mode)
    if name is None or not is_local(uri) or name in {found for _, found in socket.if_nameindex()}:
        return None
    kind = "bridge" if network.mode is Mode.BRIDGE else "device"
    return f"the hypervisor has no {kind} {name}"


def _subnet(lab: Lab, network: Network, here: Mapping[str, tuple[Any, str]]) -> str | None:
    own = [each for each in (network.hypervisor4, network.hypervisor6) if each is not None]
    for name, (handle, xml) in here.items():
        if not handle.isActive():
            continue
        for theirs in _addresses(xml):
            if any(theirs.ip == each.ip or theirs.network == each.network for each in own):
                return f"{theirs.network} is the subnet of {_whose(lab, name, read_tag(xml))}"
    return None


def _whose(lab: Lab, name: str, tag: Tag | None) -> str:
    if tag is None:
        return f"the network {name} here (change `cidr`, or take that network down)"
    if tag.lab == lab.name:
        return f"this lab's own network {name}, which the file has no longer (`labrun up --prune` removes it)"
    return f"the network {name} of the lab {tag.lab} (change `cidr`, or `labrun down --name {tag.lab}`)"


def _addresses(xml: str) -> Iterator[IPv4Interface | IPv6Interface]:
    for found in ET.fromstring(xml).findall("./ip"):  # noqa: S314 - libvirt's
        address, length = found.get("address"), found.get("prefix") or found.get("netmask")
        if address and length:
            yield ip_interface(f"{address}/{length}")


def _domains(connection: Any) -> dict[str, Tag | None]:
    import libvirt

    found: dict[str, Tag | None] = {}
    for domain in connection.listAllDomains():
        try:
            found[str(domain.name())] = read_tag(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return found


def _of_machines(lab: Lab, uri: str) -> Iterator[tuple[_Item, str]]:
    taken: dict[str, dict[str, Tag | None]] = {}
    for host in lab.hosts.values():
        if host.machine is None:
            continue
        kind, driver_uri = driver_of(host, uri)
        if driver_uri not in taken:
            taken[driver_uri] = _domains(connect(driver_uri))
        full = lab.libvirt_name(host.name)
        if full in taken[driver_uri]:
            tag = taken[driver_uri][full]
            if tag is None or tag.lab != lab.name:
                yield (host.name, "machine", host.name), _taken("domain", full, "dumpxml")
            continue
        image = host.machine.image
        paths = image_paths(image)
        there = paths.rootfs.is_dir() if kind == "lxc" else paths.disk.is_file()
        if there or driver_for(kind, driver_uri).image_ready(image):
            continue
        what = "root tree for containers" if kind == "lxc" else "disk for machines"
        why = f"the image {image} has no {what} ({source_of_image(image, kind)})"
        yield (HYPERVISOR, "image", image), why
        yield (host.name, "machine", host.name), why
