"""The oldest libvirt that labrun works with, and what to say of an older one."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from labrun.errors import HypervisorError

__all__ = ["OLDEST", "too_old"]

# libvirt's documentation has what came when. Emulated VMs need the latest of it: the size of their
# translation cache came with 8.0, and an older libvirt refuses such a VM. The rest is older: the firmware's
# features for UEFI (7.2), IPv6 NAT and the directories of hooks (6.5), flags for removing a VM (5.6).
OLDEST: Final = (8, 0, 0)
"""Major, minor and release of libvirt on the hypervisor; an older one would fail in the middle of `up`."""


def too_old(uri: str, number: int) -> HypervisorError | None:
    """Return what to say if the libvirt at ``uri`` is too old; ``number`` is its version in the API."""
    version = (number // 1_000_000, number // 1000 % 1000, number % 1000)
    if version >= OLDEST:
        return None
    where = urlsplit(uri).hostname or "this machine"
    return HypervisorError(
        f"cannot use {uri}: its libvirt is {_text(version)}, and labrun needs {_text(OLDEST)} or later",
        step="libvirt",
        hint=f"upgrade libvirt on {where}: Debian 12, Ubuntu 22.04 and Enterprise Linux 9 are new enough",
    )


def _text(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
