"""Containers from the hypervisor: their init, and the addresses that their NICs have."""

from __future__ import annotations

import logging
import signal
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from labrun.bounded import objects, read_json
from labrun.errors import UnreadableError
from labrun.links import parse_links

__all__ = ["addresses_inside", "container_init", "power_off_signal"]

_SECONDS = 10.0
_log = logging.getLogger(__name__)


def container_init(controller: int) -> int | None:
    """Return the process id (in the hypervisor's view) of a container's init.

    ``controller`` is libvirt_lxc's process id, which libvirt reports as the domain's id.
    """
    try:
        children = Path(f"/proc/{controller}/task/{controller}/children").read_text(encoding="ascii").split()
    except OSError:
        return None
    return int(children[0]) if children else None


def power_off_signal(init: int) -> int:
    """Return the signal that makes an init power off; ``init`` is its process id in the hypervisor's view.

    systemd starts poweroff.target (systemd(1), SIGNALS); it renames itself, so that its name tells.
    sysvinit's init runs the `powerwait` line of inittab, as for a failing power supply (init(8)).
    """
    try:
        name = Path(f"/proc/{init}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        name = ""
    return signal.SIGPWR if name == "init" else signal.SIGRTMIN + 4


def addresses_inside(controller: int) -> Iterator[tuple[str, IPv4Address | IPv6Address]]:
    """Yield MAC and global addresses of a container's NICs; nothing if its kernel cannot be asked."""
    init = container_init(controller)
    if init is None:
        return
    command = ["nsenter", "-t", str(init), "-n", "ip", "-d", "-j", "address"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        for link in parse_links(objects(read_json(done.stdout, "ip address"), "ip address", "links")):
            for held in link.held:
                yield link.mac, held.interface.ip
    except (OSError, subprocess.SubprocessError, UnreadableError) as error:
        # Without root, or while the container ends: its address is then not known.
        _log.debug("no addresses of the container of process %d: %s", controller, error)
