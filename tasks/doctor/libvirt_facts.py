"""Read what libvirt says of itself, its networks and the lab's machines."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_interface
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, is_active, networks_of, translated
from labrun.inventory.model import Lab
from labrun.ownership import read_tag
from labrun.tasks.doctor.model import LibvirtNetwork, LibvirtSide, Prefix
from labrun.tasks.provision.domains import state_of, tagged_domains
from labrun.tasks.provision.kvm_probe import KvmVerdict, kvm_verdict
from labrun.tasks.provision.volumes import find_pool, image_pool

__all__ = ["look_at", "python_libvirt", "try_kvm"]


def python_libvirt() -> str:
    """Return the version of libvirt-python, empty if this Python does not have it."""
    try:
        return version("libvirt-python")
    except PackageNotFoundError:
        return ""


def look_at(uri: str, lab: Lab | None) -> LibvirtSide:
    """Return what a URI answers, or why it does not. ``running`` are the lab's hosts that run there."""
    try:
        connection = connect(uri)
        with translated("libvirt"):
            return LibvirtSide(
                uri,
                _version(connection.getLibVersion()),
                tuple(_networks(connection)),
                _running(connection, lab),
            )
    except HypervisorError as error:
        return LibvirtSide(uri, error=error.reason, hint=error.hint or "")


def _version(number: int) -> tuple[int, int, int]:
    return number // 1_000_000, number // 1000 % 1000, number % 1000


def _networks(connection: Any) -> Iterator[LibvirtNetwork]:
    for network, xml in networks_of(connection):
        root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
        forward, bridge, tag = root.find("./forward"), root.find("./bridge"), read_tag(xml)
        yield LibvirtNetwork(
            network.name(),
            bridge.get("name", "") if bridge is not None else "",
            tuple(_subnets(root)),
            forward.get("mode", "nat") if forward is not None else "",
            is_active(network),
            tag.lab if tag is not None and tag.fits(network.name()) else None,
        )


def _subnets(root: ET.Element) -> Iterator[Prefix]:
    for element in root.findall("./ip"):
        address, length = element.get("address"), element.get("prefix") or element.get("netmask")
        if address and length:
            yield ip_interface(f"{address}/{length}").network


def _running(connection: Any, lab: Lab | None) -> frozenset[str]:
    if lab is None:
        return frozenset()
    return frozenset(
        tag.host
        for domain, tag, _ in tagged_domains(connection, lab.name)
        if tag.fits(domain.name()) and state_of(domain) == "running"
    )


def try_kvm(uri: str | None) -> KvmVerdict | None:
    """Run a guest on KVM, whatever was found earlier, and return the verdict; None without libvirt.

    The guest's disk needs labrun's pool; where there was none, none stays.
    """
    if uri is None:
        return None
    try:
        connection = connect(uri)
        with translated("kvm"):
            is_new = find_pool(connection, image_pool()) is None
            try:
                return kvm_verdict(connection, uri, refresh=True)
            finally:
                if is_new:
                    _remove_pool(connection)
    except HypervisorError:
        return None


def _remove_pool(connection: Any) -> None:
    pool = find_pool(connection, image_pool())
    if pool is not None and pool.numOfVolumes() == 0:
        pool.destroy()
        pool.delete(0)
        pool.undefine()
