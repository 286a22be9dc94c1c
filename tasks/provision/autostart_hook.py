"""The hook by which libvirt mounts a container's root itself, so that it can start with the hypervisor."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labrun.errors import HypervisorError
from labrun.tasks.guest.scripts import assigned, hypervisor_script
from labrun.tasks.provision.domains import tagged_domains
from labrun.tasks.provision.overlay import LABS

__all__ = ["ONLY_LIBVIRT", "has_hook", "install_hook", "remove_idle_hook"]

_HOOKS = Path("/etc/libvirt/hooks")
# libvirt runs every program in this folder, beside hooks/lxc, which is the administrator's own.
_HOOK = _HOOKS / "lxc.d" / "labrun"
ONLY_LIBVIRT = "only in libvirt"
"""The ``autostart`` of a container that libvirt would start without its root being mounted."""


def _text() -> str:
    return "#!/bin/sh\n" + assigned({"labs": str(LABS)}) + hypervisor_script("mount_root")


def has_hook() -> bool:
    """Tell whether the hook is there, as this labrun writes it."""
    try:
        return _HOOK.read_text(encoding="utf-8") == _text() and os.access(_HOOK, os.X_OK)
    except (OSError, UnicodeDecodeError):
        return False


def install_hook() -> None:
    """Write the hook; libvirtd finds it when it starts next. Raises HypervisorError."""
    with _alone():
        if has_hook():
            return
        draft = _HOOKS / ".labrun-hook"
        try:
            _HOOK.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(_text(), encoding="utf-8")
            draft.chmod(0o755)
            draft.replace(_HOOK)
        except OSError as error:
            raise HypervisorError(
                f"cannot write {_HOOK}: {error.strerror}", step="autostart", hint="or `autostart: false`"
            ) from error


def remove_idle_hook(connection: Any) -> None:
    """Remove the hook if no container of any lab starts with the hypervisor. Raises libvirtError."""
    if not _HOOK.exists():
        return
    with _alone():
        if not any(domain.autostart() for domain, _, _ in tagged_domains(connection)):
            _HOOK.unlink(missing_ok=True)


@contextmanager
def _alone() -> Iterator[None]:
    LABS.mkdir(parents=True, exist_ok=True)
    folder = os.open(LABS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
