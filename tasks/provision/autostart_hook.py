"""The hook by which libvirt mounts a container's root itself, so that it can start with the hypervisor."""

from __future__ import annotations

from typing import Any

from labrun.tasks.provision.domains import tagged_domains
from labrun.tasks.provision.libvirt_hooks import Hook, alone

__all__ = ["ONLY_LIBVIRT", "has_hook", "install_hook", "remove_idle_hook"]

_HOOK = Hook("lxc", "mount_root")
ONLY_LIBVIRT = "only in libvirt"
"""The ``autostart`` of a container that libvirt would start without its root being mounted."""


def has_hook() -> bool:
    """Tell whether the hook is there, as this labrun writes it."""
    return _HOOK.is_there()


def install_hook() -> None:
    """Write the hook; libvirtd finds it when it starts next. Raises HypervisorError."""
    with alone():
        _HOOK.install("autostart", "or `autostart: false`")


def remove_idle_hook(connection: Any) -> None:
    """Remove the hook if no container of any lab starts with the hypervisor. Raises libvirtError."""
    if not _HOOK.path.exists():
        return
    with alone():
        if not any(domain.autostart() for domain, _, _ in tagged_domains(connection)):
            _HOOK.remove()
