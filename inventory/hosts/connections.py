"""How labrun logs in to each host: Nornir connection options, complete for every host.

Nornir takes the ``extras`` of the first of host, groups and defaults that has any, without merging, so they
are assembled here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from labrun.inventory.model import Host, Lab
from labrun.inventory.sshd_ports import login_port
from labrun.state import SSH_PORT, LabState

__all__ = [
    "CONNECT_SECONDS",
    "JUMP",
    "OPTIONS",
    "TIMEOUTS",
    "Access",
    "Extras",
    "access_of",
    "connection_extras",
]

Extras: TypeAlias = Mapping[str, bool | int | str | None]
"""Options of one connection, by Netmiko option."""
OPTIONS = "labrun-ssh"
"""The name of the options of labrun's own logins, some of which Netmiko lacks."""
JUMP = "labrun_jump"
"""The key of a host's data with the Nornir host that it is reached through."""
WANTED_PORT = "labrun_wanted_port"
"""The key of a host's data with the port at which its sshd should listen by the lab file."""
CONNECT_SECONDS = 10
TIMEOUTS = {"conn_timeout": CONNECT_SECONDS, "banner_timeout": 30, "auth_timeout": 15, "keepalive": 15}
"""Seconds, keyed by Netmiko option: for labrun's connections and for those of exported inventories."""


@dataclass(frozen=True, slots=True)
class Access:
    """The login to one host. None stands for the user's ssh defaults: user, keys, known_hosts.

    ``port`` is where its sshd answered last, ``wanted`` where it should by the lab file; None = always at
    ``port``. ``alias`` is the name under which the host key is recorded; it
    stays when the address changes.
    """

    user: str | None
    port: int
    identity: str | None
    known_hosts: str | None
    alias: str | None
    wanted: int | None = None

    @property
    def others(self) -> tuple[int, ...]:
        """Return the other ports where it may answer: by the lab file, and as it was made."""
        if self.wanted is None:
            return ()
        return tuple(port for port in dict.fromkeys((self.wanted, SSH_PORT)) if port != self.port)


def access_of(lab: Lab, host: Host, state: LabState | None) -> Access:
    """Return how to log in: with the lab's key if labrun creates the machine, else as the file declares.

    Without ``state`` (an export made away from the lab) no files of the lab are referenced.
    """
    if host.machine is None:
        ssh = host.ssh
        identity, known_hosts = _path(lab, ssh.identity), _path(lab, ssh.known_hosts)
        return Access(ssh.user, ssh.port or SSH_PORT, identity, known_hosts, None)
    identity = str(state.identity.absolute()) if state is not None else None
    known_hosts = str(state.known_hosts.absolute()) if state is not None else None
    wanted = login_port(host.sshd or {}, host.ssh.port)
    known = state.login_ports().get(host.name, SSH_PORT) if state is not None else wanted
    return Access(host.user, known, identity, known_hosts, host.name, wanted)


def _path(lab: Lab, text: str | None) -> str | None:
    if text is None:
        return None
    path = Path(text).expanduser()
    return str(path if path.is_absolute() else (Path(lab.directory) / path).absolute())


def connection_extras(access: Access, *, made_by_labrun: bool) -> Mapping[str, Extras]:
    """Return the extras of labrun's logins and of plain ``netmiko``, with strict host key checking."""
    common: dict[str, bool | int | str | None] = {"ssh_strict": True, **TIMEOUTS}
    if access.identity is not None:
        common["key_file"] = access.identity
    if access.known_hosts is not None:
        common |= {"alt_host_keys": True, "alt_key_file": access.known_hosts}
    elif not made_by_labrun:
        common["system_host_keys"] = True
    if not made_by_labrun and access.identity is None:
        common["allow_agent"] = True
    labrun_ssh = dict(common)
    if access.alias is not None:
        labrun_ssh["host_key_alias"] = access.alias
        if access.others:
            labrun_ssh["other_ports"] = " ".join(map(str, access.others))
    elif access.identity is None:
        labrun_ssh["look_for_keys"] = True
    # Nornir-Netmiko would read ~/.ssh/config, which may redirect the login.
    return {OPTIONS: labrun_ssh, "netmiko": {**common, "ssh_config_file": None}}
