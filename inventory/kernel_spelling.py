"""How the kernel writes the numbers of a parameter, whatever way they were written to it."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final

__all__ = ["as_kernel_writes"]

# proc_dointvec() and its kin read numbers as in C, and print them as decimals.
_HEX = re.compile("(-?)0[xX]([0-9a-fA-F]{1,16})")
_OCTAL = re.compile("(-?)0([0-7]{1,21})")
_RANGE = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?")
_LISTS: Final = frozenset({"net/ipv4/ip_local_reserved_ports", "kernel/watchdog_cpumask"})
# Text that may look like a number.
_TEXTS: Final = frozenset(
    {
        *("kernel/core_pattern", "kernel/domainname", "kernel/hostname", "kernel/hotplug"),
        *("kernel/modprobe", "kernel/poweroff_cmd"),
    }
)


@lru_cache(maxsize=4096)
def as_kernel_writes(path: str, value: str) -> str:
    """Return ``value`` as it is read from ``path`` (below /proc/sys) once it was written there.

    ``0x400`` and ``02000`` become ``1024``, and a list of ports is sorted, its neighbours joined. What the
    kernel would refuse, and text, comes back as it is.
    """
    if path in _TEXTS:
        return value
    if path in _LISTS:
        return _ranges(value)
    words = value.split()
    plain = [_decimal(word) for word in words]
    return value if plain == words else " ".join(plain)


def _decimal(word: str) -> str:
    for pattern, base in ((_HEX, 16), (_OCTAL, 8)):
        if (number := pattern.fullmatch(word)) is not None:
            size = int(number[2], base)
            return f"{number[1] if size else ''}{size}"
    return word


def _ranges(value: str) -> str:
    members: set[int] = set()
    for part in value.strip().split(",") if value.strip() else ():
        found = _RANGE.fullmatch(part)
        if found is None:
            return value
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < 65536:
            return value
        members.update(range(first, last + 1))
    ordered = sorted(members)
    starts = ordered[:1] + [after for before, after in pairwise(ordered) if after > before + 1]
    ends = [before for before, after in pairwise(ordered) if after > before + 1] + ordered[-1:]
    return ",".join(
        str(first) if first == last else f"{first}-{last}" for first, last in zip(starts, ends, strict=True)
    )
