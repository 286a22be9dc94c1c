"""What a machine has used, as the hypervisor counts it: a container's memory, what a VM read of its disk."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from labrun.bounded import integer
from labrun.containers import container_init
from labrun.hypervisor import as_hypervisor_error, daemon_pid

__all__ = ["bytes_read", "killed_for_memory"]

_GROUPS = Path("sys/fs/cgroup")
_MOST = 65_536


def killed_for_memory(uri: str, domain: Any) -> int:
    """Return how many processes of a running container were killed since its memory was used up.

    0 also where that is not known: on another machine, or without a memory controller. Raises libvirtError.
    """
    daemon = daemon_pid(uri)
    init = container_init(domain.ID()) if daemon is not None else None
    if init is None:
        return 0
    # libvirtd's own mounts: labrun may see other control groups, or none.
    root = Path(f"/proc/{daemon}/root") / _GROUPS
    for line in _text(Path(f"/proc/{init}/cgroup")).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if "memory" in controllers.split(","):
            return _killed(root / "memory" / path.lstrip("/") / "memory.oom_control")
        if not controllers and (root / "cgroup.controllers").exists():
            return _killed(root / path.lstrip("/") / "memory.events")
    return 0


def _killed(counters: Path) -> int:
    found = re.search(r"^oom_kill (\d{1,9})$", _text(counters), re.MULTILINE)
    return integer(found[1]) or 0 if found is not None else 0


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST)
    except OSError:
        return ""


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
