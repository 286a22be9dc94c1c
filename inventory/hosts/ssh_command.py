"""What OpenSSH needs to log in as strictly as labrun does, through the same jump hosts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from labrun.errors import LabrunError
from labrun.inventory.hosts.connections import OPTIONS, Access, access_of, connection_extras
from labrun.inventory.hosts.locate import Located
from labrun.inventory.model import Host, Lab
from labrun.state import LabState

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

__all__ = ["jump_options", "login_words", "proxy_command", "ssh_options", "ssh_path", "ssh_quoted"]

_SSH_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,=~-]+")
_CONNECT_SECONDS = 10


def proxy_command(lab: Lab, host: Host, located: Mapping[str, Located], state: LabState | None) -> str | None:
    """Return the ProxyCommand by which ssh reaches a host, as strict on the way; None if it needs none."""
    found = _jump_of(lab, host, located, state)
    if found is None:
        login = located[host.name].hypervisor
        return login.proxy_command() if login is not None else None
    jump, address, access = found
    words = login_words(jump, access, proxy_command(lab, jump, located, state))
    # ssh replaces these in the whole command, what is nested in it included.
    return f"{shlex.join(words).replace('%', '%%')} -W '[%h]:%p' {shlex.quote(address)}"


def login_words(host: Host, access: Access, proxy: str | None) -> list[str]:
    """Return the command line of a login as strict as labrun's, without the address; ``proxy`` leads there.

    Raises LabrunError for a path that ssh cannot be told.
    """
    options = [("ConnectTimeout", str(_CONNECT_SECONDS)), *ssh_options(host, access)]
    if access.identity is not None:
        # `-i` would take the % in a path for the beginning of a token, and has no way to say otherwise.
        options.append(("IdentityFile", ssh_path(access.identity)))
    if proxy is not None:
        options.append(("ProxyCommand", proxy))
    words = ["ssh", *(["-F", "none"] if host.machine is not None else []), "-p", str(access.port)]
    words += ["-l", access.user] if access.user is not None else []
    return words + [part for keyword, value in options for part in ("-o", f"{keyword}={value}")]


def jump_options(lab: Lab, host: Host, located: Mapping[str, Located], state: LabState | None) -> JsonObject:
    """Return the options of the jump host for labrun's own logins, as ``jump``; empty if there is none."""
    found = _jump_of(lab, host, located, state)
    if found is None:
        hypervisor = located[host.name].hypervisor
        return {"jump": hypervisor.options()} if hypervisor is not None else {}
    jump, address, access = found
    extras = connection_extras(access, made_by_labrun=jump.machine is not None)[OPTIONS]
    login: JsonObject = {"name": jump.name, "host": address, "port": access.port, "username": access.user}
    return {"jump": {**dict(extras), **login, **jump_options(lab, jump, located, state)}}


def _jump_of(
    lab: Lab, host: Host, located: Mapping[str, Located], state: LabState | None
) -> tuple[Host, str, Access] | None:
    through = located[host.name].through
    if not through:
        return None
    jump = lab.hosts[through[-1]]
    # Without an address ssh fails with this name, rather than logging in elsewhere.
    address = located[jump.name].address or f"{jump.name}.invalid"
    return jump, address, access_of(lab, jump, state)


def ssh_options(host: Host, access: Access) -> list[tuple[str, str]]:
    """Return the ssh_config keywords that make a login as strict as labrun's."""
    options = [("StrictHostKeyChecking", "yes")]
    if access.identity is not None:
        options.append(("IdentitiesOnly", "yes"))
    if access.known_hosts is not None:
        options.append(("UserKnownHostsFile", ssh_path(access.known_hosts)))
    if access.known_hosts is not None or host.machine is not None:
        # Host keys are accepted from that file only.
        options.append(("GlobalKnownHostsFile", "/dev/null"))
    if host.machine is not None:
        # Nor does labrun learn them from the host.
        options.append(("UpdateHostKeys", "no"))
    if access.alias is not None:
        options.append(("HostKeyAlias", access.alias))
    return options


def ssh_path(path: str) -> str:
    """Return a path as ssh_config spells it. Raises LabrunError for one that it cannot name."""
    if "${" in path or "\n" in path:
        raise LabrunError(f"ssh_config cannot name the path {path!r}", hint="--state-dir chooses another")
    return ssh_quoted(path.replace("%", "%%"))


def ssh_quoted(value: str) -> str:
    """Return a value as ssh_config spells it."""
    if _SSH_PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
