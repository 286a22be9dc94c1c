"""A role's hardened sshd settings: the annotated files in ``templates/sshd``, plus the lab file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from getpass import getuser
from importlib.resources import files

from labrun.bounded import SETTINGS_LINES, require_lines
from labrun.inventory.model import Host, Lab, Role
from labrun.inventory.topology.jump_hosts import jump_hosts

__all__ = ["Setting", "desired_sshd", "profile", "profile_of"]

# For lines without surrounding white space: a guest may have a megabyte of it.
# sshd takes a keyword in quotes, too.
_LINE = re.compile(r"\"?+(?P<keyword>[A-Za-z0-9]++)\"?+(?:\s*+=\s*+|\s++)(?P<value>\S.*)")
_FILES = 32


@dataclass(frozen=True, slots=True)
class Setting:
    """One keyword as sshd_config writes it, its values in order, and the reason for it.

    ``line`` is its number in the text that it was read from, 0 if it was not.
    """

    keyword: str
    values: tuple[str, ...]
    reason: str = ""
    line: int = field(default=0, compare=False)

    @property
    def key(self) -> str:
        """Return the keyword as ``sshd -T`` prints it."""
        return self.keyword.lower()


@lru_cache(maxsize=_FILES)
def settings_in(text: str) -> tuple[Setting, ...]:
    """Return the settings of an sshd_config text, each with the comment lines right above it.

    Many hosts have the same files, and each is judged several times: the last few are remembered.
    Raises UnreadableError for a text with more lines than any real file.
    """
    return tuple(_settings(text))


def _settings(text: str) -> Iterator[Setting]:
    require_lines(text, "sshd_config", SETTINGS_LINES)
    reason: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            reason.append(line.lstrip("# \t").rstrip())
            continue
        match = _LINE.fullmatch(line.strip())
        if match is not None:
            yield Setting(match["keyword"], (match["value"],), " ".join(reason), number)
        reason = []


@cache
def profile(name: str) -> tuple[Setting, ...]:
    """Return the settings of ``bastion``, ``host`` or ``router``, those of every role first."""
    folder = files("labrun.templates") / "sshd"
    return tuple(
        setting
        for part in ("hardened", name)
        for setting in settings_in((folder / f"{part}.conf").read_text(encoding="utf-8"))
    )


def profile_of(lab: Lab, host: Host) -> str:
    """Return the name of the host's profile: as in the file, otherwise by the host's role for others.

    A host through which labrun reaches another is a bastion, even if it is a router; so is any other host
    on several networks, because it may be the only way into one of them.
    """
    if host.sshd_profile is not None:
        return host.sshd_profile
    if host.name in jump_hosts(lab):
        return "bastion"
    if host.role is Role.ROUTER:
        return "router"
    return "bastion" if len({nic.network for nic in host.interfaces}) > 1 else "host"


def desired_sshd(lab: Lab, host: Host) -> tuple[Setting, ...] | None:
    """Return the desired sshd settings of this host, None if the lab file leaves sshd alone.

    A keyword declared in the file replaces the profile's value.
    """
    if host.sshd is None:
        return None
    settings = {setting.key: setting for setting in profile(profile_of(lab, host))}
    if login_user(host) == "root":
        # Keys only, but not disabled: labrun configures this machine as root.
        reason = "labrun itself logs in as root here, with a key."
        settings["permitrootlogin"] = Setting("PermitRootLogin", ("prohibit-password",), reason)
    for keyword, values in host.sshd.items():
        known = settings.get(keyword.lower())
        settings[keyword.lower()] = Setting(
            known.keyword if known else keyword,
            tuple(value.strip() for value in values),
            "As the lab file says.",
        )
    return tuple(settings.values())


def login_user(host: Host) -> str:
    """Return the account that labrun logs in with; on an existing machine, ssh's default user."""
    if host.address is None:
        return host.user
    try:
        return host.ssh.user or getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # without an account ssh has no default either, and says so at the login
