"""What to do if libvirt cannot be reached: the group, the daemon, ssh or the URI may be at fault."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shlex
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

__all__ = ["Refusal", "User", "connection_hint", "silence_hint", "this_user"]

# libvirt's numbers (VIR_ERR_*), which are part of its ABI.
_NO_DRIVER: Final = 5
_AUTH: Final = frozenset({45, 79, 88, 94})  # failed, cancelled, access denied, unavailable
_PATHS: Final = {"lxc": ("/system",), "qemu": ("/system", "/session"), "test": ("/default",)}
_GROUPS: Final = ("libvirt", "libvirtd")


@dataclass(frozen=True, slots=True)
class Refusal:
    """libvirt's error: its code, and the errno inside a system error, else None."""

    code: int
    errno: int | None = None


@dataclass(frozen=True, slots=True)
class User:
    """Who asks: ``group`` is libvirt's here, and whether the account and this session are in it."""

    name: str
    is_root: bool
    group: str = _GROUPS[0]
    account_is_in: bool = False
    session_is_in: bool = False


def this_user() -> User:
    """Return the user of this process."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    for group in _GROUPS:
        try:
            found = grp.getgrnam(group)
        except KeyError:
            continue
        session = found.gr_gid in (os.getegid(), *os.getgroups())
        return User(name, uid == 0, group, name in found.gr_mem, session)
    return User(name, uid == 0)


def connection_hint(uri: str, refusal: Refusal, user: User) -> str:
    """Return what to do about a URI that cannot be opened."""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"this is not a valid URI: {error}"
    driver, _, transport = parts.scheme.partition("+")
    if driver not in _PATHS or refusal.code == _NO_DRIVER:
        return _no_driver(driver)
    if not parts.query and parts.path not in _PATHS[driver]:
        known = (f"{parts.scheme}://{parts.netloc}{path}" for path in _PATHS[driver])
        return f"the path is wrong: {' or '.join(known)}"
    if transport == "ssh":
        return f"`{_over_ssh(parts, driver)}` must work without asking for anything"
    if host:
        return _over_tls(parts, driver)
    if refusal.code in _AUTH or refusal.errno == errno.EACCES:
        return _not_let_in(user, parts.path)
    if refusal.errno in (errno.ENOENT, errno.ECONNREFUSED) and not parts.query:
        return "libvirtd is not running here: `systemctl start libvirtd` starts it"
    return f"is libvirtd running? `virsh -c {shlex.quote(uri)} list` must work"


def silence_hint(uri: str) -> str:
    """Return what to do about a URI that takes the connection, or does not even refuse it, and is silent."""
    parts = urlsplit(uri)
    driver, _, transport = parts.scheme.partition("+")
    if transport == "ssh":
        return f"`{_over_ssh(parts, driver)}` must work without asking for anything"
    if parts.hostname:
        return f"is {parts.netloc} up, and is it libvirtd that listens there?"
    return "libvirtd hangs: `sudo systemctl restart libvirtd` restarts it, and machines keep running"


def _over_ssh(parts: SplitResult, driver: str) -> str:
    login = f"{parts.username}@{parts.hostname}" if parts.username else str(parts.hostname)
    where = f"-p {parts.port} {shlex.quote(login)}" if parts.port else shlex.quote(login)
    return f"ssh {where} virsh -c {driver}://{parts.path} list"


def _no_driver(driver: str) -> str:
    if driver in ("lxc", "qemu"):
        return f"libvirt's driver for {driver} is missing: libvirt-daemon-driver-{driver} has it"
    return "labrun works with qemu and lxc: qemu:///system or lxc:///system"


def _over_tls(parts: SplitResult, driver: str) -> str:
    if "+" in parts.scheme:
        return f"TLS needs libvirt's certificates on both sides; {driver}+ssh needs only a login"
    here, there = f"{driver}://{parts.path}", f"{driver}+ssh://{parts.netloc}{parts.path}"
    return (
        f"what follows // is a host, contacted over TLS: {here} is this machine, {there} that host over ssh"
    )


def _not_let_in(user: User, path: str) -> str:
    if path == "/session":
        return "HOME and XDG_RUNTIME_DIR must be directories that this user can write to"
    if user.is_root or user.session_is_in:
        return f"libvirt denies {user.name} access: see libvirtd.conf and polkit's rules"
    if user.account_is_in:
        return f"{user.name} is in the group {user.group} now, but was not at this login: log in again"
    return f"`sudo usermod -aG {user.group} {user.name}` and log in again, or run labrun with sudo"
