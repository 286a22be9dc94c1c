"""The login to a remote hypervisor, the first hop to the machines on it: as the user's ssh logs in there."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from labrun.outcome import HYPERVISOR
from labrun.state import SSH_PORT

if TYPE_CHECKING:
    from labrun.json_values import JsonObject, JsonValue

__all__ = ["HypervisorLogin", "hypervisor_login"]

_TRANSPORTS = ("ssh", "libssh", "libssh2")
_SECONDS = 10
# Those that ssh offers of itself: labrun then offers the agent's and the user's keys in the same way.
_DEFAULT_KEYS = "id_"


@dataclass(frozen=True, slots=True)
class HypervisorLogin:
    """Where a libvirt URI logs in; None stands for what ``~/.ssh/config`` or ssh itself says.

    ``identity`` and ``known_hosts`` are parameters of the URI, which only ``LABRUN_HYPERVISOR`` may have.
    """

    host: str
    user: str | None = None
    port: int | None = None
    identity: str | None = None
    known_hosts: str | None = None

    def ssh_words(self) -> list[str]:
        """Return the ssh command that logs in there, without the host, strict about host keys."""
        words = ["ssh", "-o", f"ConnectTimeout={_SECONDS}", "-o", "StrictHostKeyChecking=yes"]
        words += ["-p", str(self.port)] if self.port is not None else []
        words += ["-l", self.user] if self.user is not None else []
        words += ["-i", self.identity] if self.identity is not None else []
        if self.known_hosts is not None:
            words += ["-o", f"UserKnownHostsFile={self.known_hosts}"]
        return words

    def proxy_command(self) -> str:
        """Return the ProxyCommand by which ssh reaches a machine there."""
        # ssh replaces %-tokens in the whole command.
        words = shlex.join(self.ssh_words()).replace("%", "%%")
        return f"{words} -W '[%h]:%p' {shlex.quote(self.host)}"

    def options(self) -> JsonObject:
        """Return the options of labrun's own login there, in the form of those of a jump host."""
        known = _config_of(self)
        hosts_file = self.known_hosts or _other_file(known.get("userknownhostsfile", ""))
        identity = self.identity or _other_key(known.get("identityfile", ""))
        found: dict[str, JsonValue] = {
            "name": HYPERVISOR,
            "host": known.get("hostname") or self.host,
            "port": self.port or int(known.get("port") or SSH_PORT),
            "username": self.user or known.get("user"),
            "ssh_strict": True,
            "system_host_keys": True,
        }
        if hosts_file is not None:
            found |= {"alt_host_keys": True, "alt_key_file": hosts_file}
        if "hostkeyalias" in known:
            found["host_key_alias"] = known["hostkeyalias"]
        if identity is not None:
            return {**found, "key_file": identity}
        return {**found, "allow_agent": True, "look_for_keys": True}


def hypervisor_login(uri: str) -> HypervisorLogin | None:
    """Return the login that leads to the machines of a hypervisor, None for one that is no ssh away."""
    parts = urlsplit(uri)
    if not parts.hostname or parts.scheme.partition("+")[2] not in _TRANSPORTS:
        return None
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    user = unquote(parts.username) if parts.username else None
    return HypervisorLogin(
        # Not `hostname`, which is in lower case: ssh compares names with those of its configuration.
        _spelled(parts.netloc, parts.hostname),
        user,
        parts.port,
        _file(given.get("keyfile")),
        _file(given.get("known_hosts")),
    )


def _spelled(netloc: str, hostname: str) -> str:
    start = netloc.lower().rfind(hostname)
    return netloc[start : start + len(hostname)] if start >= 0 else hostname


def _file(text: str | None) -> str | None:
    return str(Path(text).expanduser().absolute()) if text else None


@lru_cache(maxsize=8)
def _config_of(login: HypervisorLogin) -> dict[str, str]:
    """Return what ssh would do by its configuration, by keyword in lower case; empty without an ssh."""
    program = shutil.which("ssh")
    if program is None:
        return {}
    command = [program, *login.ssh_words()[1:], "-G", login.host]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        key = keyword.lower()
        if key == "identityfile" and not Path(value.strip()).expanduser().is_file():
            continue
        found.setdefault(key, value.strip())
    return found


def _other_key(path: str) -> str | None:
    """Return the key that the configuration names, None if that is one of ssh's own defaults."""
    file = Path(path).expanduser()
    is_default = file.parent == Path("~/.ssh").expanduser() and file.name.startswith(_DEFAULT_KEYS)
    return str(file) if path and not is_default else None


def _other_file(paths: str) -> str | None:
    """Return the first file of known hosts that the configuration names, None if that is the default."""
    first = next(iter(paths.split()), "")
    return None if not first or first.endswith("/.ssh/known_hosts") else str(Path(first).expanduser())
