"""Why a hypervisor behind ssh cannot be opened: what ssh and libvirt say of it, in plain words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

__all__ = ["RemoteRefusal", "remote_refusal"]

_SSH = ("ssh", "libssh", "libssh2")
_PORT: Final = 22


@dataclass(frozen=True, slots=True)
class RemoteRefusal:
    """The reason, and what to do about it."""

    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a URI logs in; ``user`` is empty if ssh chooses it, ``login`` is the ssh command."""

    host: str
    port: int
    user: str
    login: str

    @property
    def whom(self) -> str:
        return f"the user {self.user}" if self.user else "your user"


def remote_refusal(uri: str, said: str) -> RemoteRefusal | None:
    """Return why ``uri`` could not be opened, by libvirt's message; None if it is not known or no ssh's."""
    parts = urlsplit(uri)
    if not parts.hostname or parts.scheme.partition("+")[2] not in _SSH:
        return None
    user = unquote(parts.username) if parts.username else ""
    words = ["ssh", *(["-p", str(parts.port)] if parts.port else [])]
    login = f"{user}@{parts.hostname}" if user else parts.hostname
    place = _Place(parts.hostname, parts.port or _PORT, user, shlex.join([*words, login]))
    for pattern, told in _KNOWN:
        if found := re.search(pattern, said, re.IGNORECASE):
            return told(place, found)
    return None


def _no_name(at: _Place, _found: re.Match[str]) -> RemoteRefusal:
    return RemoteRefusal(
        f"the name {at.host} is not known here", "correct it in `hypervisor`, or add it to DNS or /etc/hosts"
    )


def _closed(at: _Place, _found: re.Match[str]) -> RemoteRefusal:
    return RemoteRefusal(
        f"{at.host} refuses connections to port {at.port}",
        "start its sshd, or name the port: qemu+ssh://USER@HOST:PORT/system",
    )


def _silent(at: _Place, found: re.Match[str]) -> RemoteRefusal:
    return RemoteRefusal(
        f"{at.host} does not answer on port {at.port}: {found.group(0).lower()}",
        "is it up, and is this its address?",
    )


def _strange_key(at: _Place, _found: re.Match[str]) -> RemoteRefusal:
    return RemoteRefusal(
        f"{at.host} has a host key that is not in your known_hosts",
        f"log in once by `{at.login}` and compare the fingerprint",
    )


def _no_login(at: _Place, _found: re.Match[str]) -> RemoteRefusal:
    copy = at.login.replace("ssh", "ssh-copy-id", 1)
    return RemoteRefusal(f"{at.host} does not let {at.whom} in by key", f"`{copy}` puts your key there")


def _no_rights(at: _Place, _found: re.Match[str]) -> RemoteRefusal:
    who = at.user or "USER"
    return RemoteRefusal(
        f"libvirt on {at.host} does not let {at.whom} in",
        f"there: `sudo usermod -aG libvirt {who}`, which counts from the next login",
    )


def _no_libvirt(at: _Place, _found: re.Match[str]) -> RemoteRefusal:
    return RemoteRefusal(
        f"no libvirtd listens on {at.host}",
        "there: install libvirt (Debian: libvirt-daemon-system), then `sudo systemctl enable --now libvirtd`",
    )


# Whatever ssh says comes first: libvirt adds what followed from it.
_KNOWN: tuple[tuple[str, Callable[[_Place, re.Match[str]], RemoteRefusal]], ...] = (
    ("could not resolve hostname", _no_name),
    ("host key verification failed", _strange_key),
    (r"permission denied \(", _no_login),
    (r"port \d+: connection refused", _closed),
    ("no route to host|connection timed out|network is unreachable", _silent),
    ("polkit|authentication (?:failed|unavailable|cancelled)|access denied", _no_rights),
    ("permission denied", _no_rights),  # of the socket
    (r"libvirt-sock|virt\w+d-sock|virt-ssh-helper|\bnc\b", _no_libvirt),
)
