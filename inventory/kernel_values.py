"""Kernel parameters by what they set: several keys, and several spellings of a key, can be one value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from labrun.inventory.kernel_spelling import as_kernel_writes
from labrun.inventory.model import Host, Role

__all__ = ["EITHER_OR", "KernelValue", "keys_of", "path_of", "role_values", "same_value", "value_of"]

_PART = re.compile(r"[A-Za-z0-9_@:.-]+")
_ALIASES: Final = {
    "net/ipv4/conf/all/forwarding": "net/ipv4/ip_forward",
    "net/nf_conntrack_max": "net/netfilter/nf_conntrack_max",
    "vm/nr_hugepages_mempolicy": "vm/nr_hugepages",
    "user/max_inotify_instances": "fs/inotify/max_user_instances",
    "user/max_inotify_watches": "fs/inotify/max_user_watches",
    "user/max_fanotify_groups": "fs/fanotify/max_user_groups",
    "user/max_fanotify_marks": "fs/fanotify/max_user_marks",
}
# The same value in another unit: PATH_ms counts milliseconds, PATH this many of them.
_IN_MILLISECONDS: Final = (
    (re.compile("net/ipv[46]/neigh/[^/]+/base_reachable_time"), 1000),
    (re.compile("net/ipv4/neigh/[^/]+/retrans_time"), 10),
    (re.compile("net/ipv[46]/route/gc_min_interval"), 1000),
)
EITHER_OR: Final = {
    "vm/dirty_ratio": "vm/dirty_bytes",
    "vm/dirty_background_ratio": "vm/dirty_background_bytes",
    "vm/overcommit_ratio": "vm/overcommit_kbytes",
}
"""Pairs of paths of which the kernel sets one to 0 when the other is written."""


@dataclass(frozen=True, slots=True)
class KernelValue:
    """One value of the kernel; ``scale`` is what a number written to the key counts there."""

    path: str
    scale: int = 1

    def of(self, text: str) -> tuple[int | str, ...]:
        """Return what the kernel makes of ``text``, to be compared with that of another key."""
        words = as_kernel_writes(self.path, text).split()
        return tuple(
            int(word) * self.scale if re.fullmatch("-?[0-9]{1,18}", word) else word for word in words
        )


@lru_cache(maxsize=1024)
def keys_of(path: str) -> frozenset[str]:
    """Return all paths of the value that ``path`` has, in the same unit; itself included."""
    first = _ALIASES.get(path, path)
    return frozenset({first, *(other for other, same in _ALIASES.items() if same == first)})


@lru_cache(maxsize=1024)
def path_of(key: str) -> str | None:
    """Return the key's path below /proc/sys, None for an impossible key.

    As in sysctl(8): if the first separator is a dot, dots separate and slashes stand for dots
    (``net.ipv4.conf.eth0/100.rp_filter``); if it is a slash, the key is a path already.
    """
    separator = re.search(r"[./]", key)
    if separator is None:
        return None
    swapped = key.translate(str.maketrans("./", "/.")) if separator.group() == "." else key
    parts = swapped.split("/")
    if any(not _PART.fullmatch(part) or part in (".", "..") for part in parts):
        return None
    return swapped


def same_value(key: str) -> KernelValue | None:
    """Return the value that a key sets, equal for all keys that set it; None for an impossible key."""
    path = path_of(key)
    if path is None:
        return None
    for pattern, scale in _IN_MILLISECONDS:
        if pattern.fullmatch(path):
            return KernelValue(f"{path}_ms", scale)
    return KernelValue(_ALIASES.get(path, path))


def value_of(sysctl: Mapping[str, str], key: str) -> str | None:
    """Return what a host's ``sysctl`` sets ``key`` to, in whatever spelling, None if it does not."""
    path = path_of(key)
    return next((value for other, value in sysctl.items() if path_of(other) == path), None)


def role_values(host: Host) -> dict[str, str]:
    """Return the keys that a host's part in the lab sets unless the file sets them.

    Routers forward, and use rp_filter=2 (loose): strict filtering drops the replies on any
    asymmetric path. So it does with all that comes by the second of two NICs on a network, since the way
    back is by the first. There each answers ARP for its own addresses only; otherwise either may be taken
    for the place of both.
    """
    values: dict[str, str] = {}
    if any(len(host.nics_on(nic.network)) > 1 for nic in host.interfaces):
        values |= {
            "net.ipv4.conf.all.arp_announce": "2",
            "net.ipv4.conf.all.arp_ignore": "1",
            "net.ipv4.conf.all.rp_filter": "2",
        }
    if host.role is not Role.ROUTER:
        return values
    values |= {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.rp_filter": "2",
        "net.ipv4.conf.default.rp_filter": "2",
    }
    if any(nic.has(6) for nic in host.interfaces):
        values["net.ipv6.conf.all.forwarding"] = "1"
    return values
