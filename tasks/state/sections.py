"""Every section that a row can belong to, and what that implies for the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from labrun.tasks.guest.facts.sshd import DROP_IN

__all__ = [
    "ADDRESS",
    "CHECK",
    "FILES",
    "FILTER",
    "FIREWALL",
    "FORWARD",
    "HOSTNAME",
    "HOSTS",
    "IMAGE",
    "MACHINE",
    "NAT",
    "NETWORK",
    "NMCLI",
    "PACKAGES",
    "PATH",
    "READY",
    "ROUTE",
    "SECTIONS",
    "SELINUX",
    "SERVICES",
    "SETTINGS",
    "SSHD",
    "SSH_KEYS",
    "SYSCTL",
    "TUNNEL",
    "Scope",
    "Section",
    "section_of",
]


class Scope(Enum):
    """What the rows of a section are about."""

    LAB = "lab"  # objects in libvirt, made by `up`
    HOST = "host"  # a single host on its own
    PATH = "path"  # reachability from one host to another
    RUN = "run"  # what a command did; nothing that could drift


@dataclass(frozen=True, slots=True)
class Section:
    """One section.

    ``follows`` names the sections of settings that its rows result from: such rows are not fixed by
    themselves. ``files`` hold an entire section, each row being a line in them. ``foldable`` = many
    equal rows of a host are one in the table. ``verified`` = `verify` judges it too, with the code of
    `configure`.
    """

    name: str
    scope: Scope
    follows: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    foldable: bool = False
    verified: bool = False


def _setting(name: str, *files: str, foldable: bool = False, verified: bool = False) -> Section:
    return Section(name, Scope.HOST, files=files, foldable=foldable, verified=verified)


FILTER = Section("filter", Scope.LAB)
NETWORK = Section("network", Scope.LAB)
FORWARD = Section("forward", Scope.LAB)
TUNNEL = Section("tunnel", Scope.LAB)
IMAGE = Section("image", Scope.LAB)
MACHINE = Section("machine", Scope.LAB)
READY = Section("ready", Scope.LAB)

_RULESET = "/etc/labrun/nftables.nft"
HOSTNAME = _setting("hostname", "/etc/hostname")
HOSTS = _setting("hosts", "/etc/hosts")
SELINUX = _setting("selinux", "/etc/selinux/config")
SYSCTL = _setting("sysctl", "/etc/sysctl.d/90-labrun.conf", verified=True)
SSH_KEYS = _setting("ssh_keys", verified=True)
SSHD = _setting("sshd", DROP_IN, foldable=True, verified=True)
FIREWALL = _setting("firewall", _RULESET)
NAT = _setting("nat", _RULESET)
NMCLI = _setting("nmcli")
PACKAGES = _setting("packages")
FILES = _setting("files")
SERVICES = _setting("services")

SETTINGS = (
    HOSTNAME,
    HOSTS,
    SELINUX,
    SYSCTL,
    SSH_KEYS,
    SSHD,
    FIREWALL,
    NAT,
    NMCLI,
    PACKAGES,
    FILES,
    SERVICES,
)
"""What `configure` manages, in the order it is applied: first the network, then what may need it."""

_OF_THE_NETWORK = frozenset({NMCLI.name, SYSCTL.name, FIREWALL.name, NAT.name})
ADDRESS = Section("address", Scope.HOST, follows=_OF_THE_NETWORK)
ROUTE = Section("route", Scope.HOST, follows=_OF_THE_NETWORK)
PATH = Section("path", Scope.PATH, follows=_OF_THE_NETWORK)
# A check may depend on any of these.
CHECK = Section("check", Scope.PATH, follows=frozenset(each.name for each in SETTINGS))

_OF_RUNS = (
    "guard",
    "fault",
    "lesson",
    "lab",
    "configure",
    "drift",
    "exec",
    "task",
    "schedule",
    "doctor",
    "host-bridge",
    "hypervisor",
    "capture",
    "tc",
    "snapshot",
    "fork",
)

SECTIONS: Mapping[str, Section] = MappingProxyType(
    {
        each.name: each
        for each in (
            *(FILTER, NETWORK, FORWARD, TUNNEL, IMAGE, MACHINE, READY),
            *SETTINGS,
            *(ADDRESS, ROUTE, PATH, CHECK),
            *(Section(name, Scope.RUN) for name in _OF_RUNS),
        )
    }
)
"""All of them by name, in their order."""


def section_of(name: str) -> Section:
    """Return the section with this name; a plain one for an unknown name in another version's history."""
    return SECTIONS.get(name) or Section(name, Scope.RUN)
