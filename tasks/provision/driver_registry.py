"""The driver that creates a host, and the libvirt URI it uses."""

from __future__ import annotations

from urllib.parse import urlsplit

from labrun.errors import HypervisorError
from labrun.inventory.model import Host
from labrun.tasks.provision.driver import Driver

__all__ = ["driver_for", "driver_of", "lab_drivers"]


def _kind(uri: str) -> str:
    return urlsplit(uri).scheme.split("+")[0]


def driver_for(kind: str, uri: str) -> Driver:
    """Return the driver of that kind (``lxc``, ``qemu``) over ``uri``."""
    if kind == "lxc":
        from labrun.tasks.provision.lxc import LxcDriver

        return LxcDriver(uri)
    if kind == "qemu":
        from labrun.tasks.provision.qemu import QemuDriver

        return QemuDriver(uri)
    raise HypervisorError(
        f"labrun cannot create machines over {uri}", step="hypervisor", hint="lxc:///system or qemu:///system"
    )


def driver_of(host: Host, lab_uri: str) -> tuple[str, str]:
    """Return (kind, URI) of the driver that creates a host in a lab whose hypervisor is ``lab_uri``.

    ``driver:`` in the file selects the other driver of the same hypervisor. Raises HypervisorError if that
    hypervisor is remote and the host is a container.
    """
    own = _kind(lab_uri)
    wanted = (host.machine.driver if host.machine else None) or own
    if wanted == own:
        return own, lab_uri
    if urlsplit(lab_uri).hostname and wanted == "lxc":
        raise HypervisorError(
            f"containers need a local hypervisor, and the lab's is {lab_uri}", host=host.name, step="driver"
        )
    return wanted, lab_uri.replace(f"{own}:", f"{wanted}:", 1).replace(f"{own}+", f"{wanted}+", 1)


def lab_drivers(lab_uri: str) -> list[tuple[str, str]]:
    """Return every (kind, URI) that a lab's machines can be under, the lab's default first."""
    own = _kind(lab_uri)
    found = [(own, lab_uri)]
    if not urlsplit(lab_uri).hostname:
        other = "qemu" if own == "lxc" else "lxc"
        found.append((other, f"{other}:///system"))
    return found
