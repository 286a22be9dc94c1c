"""Who is logged in over a NIC, and whether this session came over a connection of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from labrun.tasks.host_bridge.machine import output
from labrun.tasks.host_bridge.model import Device

__all__ = ["Connection", "Ways", "own_connection", "ways_over"]

_LISTENER = re.compile(r'\("sshd"')
_SSH = "22"


@dataclass(frozen=True, slots=True)
class Connection:
    """A TCP connection to sshd here: the addresses and ports of both ends."""

    peer: str
    peer_port: str
    local: str
    port: str

    def __str__(self) -> str:
        return f"{self.peer}:{self.peer_port} {self.local}:{self.port}"


@dataclass(frozen=True, slots=True)
class Ways:
    """The machines that are logged in over a NIC, and the ports at which sshd is reached."""

    peers: tuple[str, ...]
    ports: tuple[str, ...]


def ways_over(nic: Device) -> Ways:
    """Return who has an ssh connection to an address of the NIC now."""
    own = own_connection()
    ports = {_SSH, *([own.port] if own is not None else [])}
    for line in (output("ss", "-Htlnp") or "").splitlines():
        words = line.split()
        if len(words) > 3 and _LISTENER.search(line):
            ports.add(words[3].rpartition(":")[2])
    held = {str(each.ip) for each in nic.addresses}
    # Link-local addresses are no device's alone: the session's own says over which NIC it came.
    peers = {each.peer for each in established() if each.port in ports and each.local in held}
    return Ways(tuple(sorted(peers)), tuple(sorted(ports)))


def established() -> Iterator[Connection]:
    """Yield the TCP connections that this machine has."""
    for line in (output("ss", "-Htn", "state", "established") or "").splitlines():
        words = line.split()
        if len(words) >= 4:
            local, peer = _end(words[2]), _end(words[3])
            yield Connection(*peer, *local)


def _end(text: str) -> tuple[str, str]:
    address, _, port = text.rpartition(":")
    return _plain(address.strip("[]").partition("%")[0]), port


def _plain(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return text
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def own_connection() -> Connection | None:
    """Return the ssh connection that this process was started over, None for a console or a timer.

    sudo hides ``SSH_CONNECTION``, so the processes above this one are asked.
    """
    pid = os.getpid()
    while pid > 1:
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            parent = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            return None
        for variable in variables:
            if variable.startswith(b"SSH_CONNECTION="):
                words = variable.decode(errors="replace").partition("=")[2].split()
                if len(words) == 4:
                    return Connection(
                        _plain(words[0].partition("%")[0]),
                        words[1],
                        _plain(words[2].partition("%")[0]),
                        words[3],
                    )
        pid = int(parent)
    return None
