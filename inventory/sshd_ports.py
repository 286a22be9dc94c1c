"""Where sshd listens by the lab file: its ports, and the one that labrun logs in at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from labrun.state import SSH_PORT

__all__ = ["listening_ports", "listens_at", "login_port", "ports_in"]

_WITH_PORT = re.compile(r"\[(?P<six>[^]]*)\](:(?P<port>[0-9]+))?|(?P<host>[^:]*):(?P<its>[0-9]+)")


def ports_in(sshd: Mapping[str, Sequence[str]]) -> tuple[int, ...]:
    """Return the values of Port in the settings of a host, by keyword in lower case; 22 without any."""
    words = (word.strip('"') for value in sshd.get("port", ()) for word in value.split())
    return tuple(int(word) for word in words if word.isdecimal()) or (SSH_PORT,)


def listens_at(entry: str) -> tuple[str, int | None]:
    """Return address and port of a ListenAddress; None = at every Port."""
    found = _WITH_PORT.fullmatch(entry)
    if found is None:
        return entry, None
    port = found["port"] or found["its"]
    return found["six"] or found["host"] or "", int(port) if port else None


def listening_ports(sshd: Mapping[str, Sequence[str]]) -> list[int]:
    """Return the ports at which sshd listens at any address, in the order of the settings."""
    entries = [listens_at(value.split()[0])[1] for value in sshd.get("listenaddress", ()) if value.split()]
    return [port for entry in entries or [None] for port in ([entry] if entry else ports_in(sshd))]


def login_port(sshd: Mapping[str, Sequence[str]], declared: int | None = None) -> int:
    """Return the port that labrun logs in at on a machine that it makes.

    That is the ``declared`` one (``ssh: {port}``), else 22 where sshd listens there, else the first one.
    """
    ports = listening_ports(sshd)
    return declared or (SSH_PORT if SSH_PORT in ports else ports[0])
