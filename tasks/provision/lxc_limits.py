"""What a container may use of the hypervisor: its memory, and the processors that it is held to."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from labrun.ownership import Tag
from labrun.tasks.provision.domains import beyond_memory, tag_of
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.machines import read_settings, taken_at_start

__all__ = ["awaiting_start", "beyond_hypervisor", "direct_macs", "memory_limit", "processors_of"]


def memory_limit(domain: Any) -> dict[str, str]:
    """Return the memory that a running container may use. Raises libvirtError without a memory controller."""
    import libvirt

    limit = int(domain.memoryParameters(libvirt.VIR_DOMAIN_AFFECT_LIVE).get("hard_limit", 0))
    return {"memory": str(limit // 1024)} if limit else {}


def beyond_hypervisor(connection: Any, spec: MachineSpec) -> str:
    """Return what a container would need and the hypervisor does not have, empty if it has it all.

    Raises libvirtError.
    """
    there = len(_online(connection))
    if not spec.every_processor and spec.vcpus > there:
        return f"{spec.vcpus} vcpus, and the hypervisor has {there}"
    return beyond_memory(connection, spec)


def processors_of(connection: Any, spec: MachineSpec) -> str:
    """Return the processors that a container is held to, as libvirt writes them, empty for all.

    They begin at the spec's ``first_processor``, round all that are online. Raises libvirtError.
    """
    if spec.every_processor:
        return ""
    online = _online(connection)
    first = spec.first_processor % len(online)
    return ",".join(map(str, sorted((online * 2)[first : first + min(spec.vcpus, len(online))])))


def _online(connection: Any) -> tuple[int, ...]:
    _, on, _ = connection.getCPUMap()
    return tuple(number for number, is_on in enumerate(on) if is_on)


def awaiting_start(domain: Any) -> tuple[str, ...]:
    """Return the settings that a running container takes only at its next start. Raises libvirtError."""
    import libvirt

    if not domain.isActive():
        return ()
    tag = tag_of(domain)
    now = _settings(domain, 0, tag)
    then = _settings(domain, libvirt.VIR_DOMAIN_XML_INACTIVE, tag)
    return taken_at_start("lxc", [key for key in now if now[key] != then[key]])


def _settings(domain: Any, flags: int, tag: Tag) -> dict[str, str]:
    return read_settings("lxc", domain.XMLDesc(flags), tag)


def direct_macs(domain: Any) -> set[str]:
    """Return the MACs of the running container's NICs on macvtap networks."""
    root = ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's own output
    found = root.iterfind("./devices/interface[@type='direct']/mac")
    return {mac.get("address", "").lower() for mac in found}
