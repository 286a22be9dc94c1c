"""What a machine has used, as the hypervisor knows it: a container's memory, what a VM read of its disk."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ET
from typing import Any

from labrun.hypervisor import as_hypervisor_error, is_local

__all__ = ["bytes_read", "killed_for_memory", "killed_in"]

_SECONDS = 2.0
_MOST = 4_000_000
# Of the kernel's log: the group whose limit was reached, and the name of the process that was chosen.
_KILLED = re.compile(
    r"^.{0,40}oom-kill:constraint=CONSTRAINT_MEMCG.{0,400}?,oom_memcg=(\S{1,400}?),.{0,400},task=(.{1,20}),pid="
)


def killed_for_memory(uri: str, domain: Any) -> tuple[str, ...]:
    """Return the processes of a running container that were killed since its memory was used up, in order.

    Empty also where the kernel's log cannot be read, or is another machine's. Raises libvirtError.
    """
    if not is_local(uri):
        return ()
    try:
        done = subprocess.run(
            ["dmesg"], capture_output=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return killed_in(done.stdout[-_MOST:].decode(errors="replace"), domain.ID())


def killed_in(log: str, controller: int) -> tuple[str, ...]:
    """Return the processes that a kernel's log tells of; ``controller`` is the container's id in libvirt.

    Where systemd keeps the groups, it has written the dashes of their names as ``\\x2d``.
    """
    of_it = f"lxc-{controller}-"
    found = (_KILLED.match(line) for line in log.splitlines() if "oom-kill:" in line)
    return tuple(match[2] for match in found if match is not None and of_it in match[1].replace("\\x2d", "-"))


def bytes_read(domain: Any) -> int | None:
    """Return how much a running VM has read of its first disk since its start, None if that is not known."""
    target = ET.fromstring(domain.XMLDesc(0)).find("./devices/disk/target")  # noqa: S314 - libvirt's own output
    if target is None:
        return None
    try:
        return int(domain.blockStats(target.get("dev", ""))[1])
    except Exception as error:
        if as_hypervisor_error(error) is None:
            raise
        return None
