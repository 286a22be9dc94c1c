"""How many machines may come up at the same time: what the hypervisor's processors and free memory allow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from labrun.hypervisor import translated
from labrun.tasks.provision.driver import MachineSpec

__all__ = ["at_once", "machines_at_once"]

_PER_PROCESSOR = 8
"""More only make each other slower, until the first of them reach the limit of a boot."""
_CONTAINER_PEAK_MIB = 96
"""What a container needs while cloud-init runs in it; it is 20 MiB afterwards."""
_VM_EXTRA_MIB = 300
"""What QEMU needs beside the guest's memory, most of it for translated code."""


def at_once(processors: int, free: int, peaks: Iterable[int]) -> int:
    """Return how many machines may come up together; ``free`` and ``peaks`` (one a machine) are in MiB."""
    most, highest = _PER_PROCESSOR * processors, max(peaks, default=0)
    return max(1, min(most, free // highest) if highest else most)


def machines_at_once(connection: Any, specs: Iterable[tuple[str, MachineSpec]]) -> int:
    """Return how many of these machines (kind and spec) may come up together. Raises HypervisorError."""
    with translated("hypervisor"):
        processors = int(connection.getInfo()[2])
        free = int(connection.getFreeMemory()) // 2**20 + _cached(connection)
    peaks = (
        min(spec.memory, _CONTAINER_PEAK_MIB) if kind == "lxc" else spec.memory + _VM_EXTRA_MIB
        for kind, spec in specs
    )
    return at_once(processors, free, peaks)


def _cached(connection: Any) -> int:
    """Return the memory in MiB that only holds files, and is given up for whatever needs it."""
    import libvirt

    try:
        found = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    except libvirt.libvirtError:
        # Not every driver knows it.
        return 0
    return (int(found.get("cached", 0)) + int(found.get("buffers", 0))) // 1024
