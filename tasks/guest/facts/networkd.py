"""NICs as systemd-networkd has them: its files below /run/systemd/netif, and the network files it reads.

The files of its state are what sd-network, the library behind networkctl, reads. No process is started where
systemd-networkd has not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from labrun.bounded import integer, require_lines
from labrun.inventory.route_patterns import RoutePattern
from labrun.tasks.guest.facts.links import links
from labrun.tasks.guest.facts.nics import Nic, nics_of, without_ipv6
from labrun.tasks.guest.facts.rules import PolicyRule, rules
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = ["FOLDER", "PROBE", "UNITS", "NetworkdLink", "NetworkdState", "networkd_state"]

FOLDER = "/etc/systemd/network"
UNITS = ("systemd-networkd.service",)
PROBE = Probe(script=guest_script("networkd_state"))
"""Asks for its state; to be used with ``links.PROBE``, and ``routes.PROBE6`` for files with IPv6."""

_WHAT = "systemd-networkd"
_MOST_LINES = 20_000
_STATE = re.compile(r"/run/systemd/netif/links/([0-9]{1,9}):([A-Z0-9_]+)=(.*)")
_UP = ("configuring", "configured")
_NOTHING = Captured("", 127)


@dataclass(frozen=True, slots=True)
class NetworkdLink:
    """One NIC as systemd-networkd has it.

    ``state`` is the administrative one (``configured``, ``unmanaged``), ``file`` the network file that
    it goes by, empty if none is for it, ``searches`` the domains that names are looked up in.
    ``has_own_mac`` = it was made with a MAC: one end of a veth was not, as those of containers.
    """

    interface: str
    mac: str
    state: str
    file: str
    dns: tuple[str, ...] = ()
    searches: tuple[str, ...] | None = ()
    has_own_mac: bool = True

    @property
    def is_up(self) -> bool:
        """Tell whether its file is in force, or about to be."""
        return self.state in _UP

    @property
    def profile(self) -> str | None:
        """Return the file that is in force, None without one."""
        return self.file or None

    @property
    def profile_id(self) -> str:
        """Return the file's name without its ending."""
        return self.file.rpartition("/")[2].removesuffix(".network")


@dataclass(frozen=True, slots=True)
class NetworkdState:
    """Links by MAC, NICs by interface, and the network files by path, drop-ins and netdev files included.

    ``unreadable`` are files that systemd-networkd, which is not root, cannot read. ``policy`` are the policy
    rules beyond the kernel's own, None if nobody asked; ``no_ipv6`` the NICs on which the kernel has IPv6
    switched off. ``vlans`` are the VLAN devices by interface: each may have the MAC of the NIC below it.
    """

    runs: bool
    links: Mapping[str, NetworkdLink]
    nics: Mapping[str, Nic]
    files: Mapping[str, str]
    unreadable: frozenset[str] = frozenset()
    policy: tuple[PolicyRule, ...] | None = None
    no_ipv6: frozenset[str] = frozenset()
    vlans: Mapping[str, NetworkdLink] = field(default_factory=dict)


def networkd_state(facts: Facts, ignored: tuple[RoutePattern, ...] = ()) -> NetworkdState | None:
    """Return the state of a gather with :data:`PROBE`; None where systemd-networkd has never run.

    The routes that fit ``ignored`` are left out. Raises CommandError, UnreadableError.
    """
    listed = facts.commands.get("networkd-links")
    if listed is None:
        return None
    states = _states(listed.text)
    modes = list(_modes(facts))
    asked = [version for version in (4, 6) if f"rules{version}" in facts.commands]
    found = [*_links(facts, states)]
    return NetworkdState(
        "networkd-runs" in facts.words,
        {each.mac: each for kind, each in found if not kind},
        nics_of(facts, ignored),
        _files(facts, [path for _, path in modes]),
        frozenset(path for mode, path in modes if not mode & 0o004),
        tuple(rule for version in asked for rule in rules(facts, version)) if asked else None,
        without_ipv6(facts),
        {each.interface: each for kind, each in found if kind == "vlan"},
    )


def _states(text: str) -> dict[int, dict[str, str]]:
    """Return the settings of each link by the kernel's number of it."""
    require_lines(text, _WHAT, _MOST_LINES)
    found: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        match = _STATE.fullmatch(line)
        if match is not None:
            found.setdefault(int(match[1]), {})[match[2]] = match[3].strip('"')
    return found


def _links(facts: Facts, states: Mapping[int, Mapping[str, str]]) -> Iterator[tuple[str, NetworkdLink]]:
    """Yield the Ethernet devices, each with its kind if it stands on others."""
    for link in links(facts):
        state = states.get(link.index)
        if state is None or not link.is_ethernet:
            continue
        mac = link.burned_in or link.mac
        yield (
            link.kind if link.is_stacked else "",
            NetworkdLink(
                link.name,
                mac,
                state.get("ADMIN_STATE", ""),
                state.get("NETWORK_FILE", ""),
                # With a port, an interface or the name in its certificate behind the address.
                tuple(re.split("[%#]", server)[0] for server in state.get("DNS", "").split()),
                tuple(state.get("DOMAINS", "").split()),
                has_own_mac=link.kind != "veth",
            ),
        )


def _modes(facts: Facts) -> Iterator[tuple[int, str]]:
    """Yield mode and path of each network file."""
    text = facts.commands.get("networkd-modes", _NOTHING).text
    require_lines(text, _WHAT, _MOST_LINES)
    for line in text.splitlines():
        mode, _, path = (*line.split(" ", 2), "", "")[:3]
        bits = integer(mode)
        if bits is not None and path and re.fullmatch("[0-7]{1,5}", mode):
            yield int(mode, 8), path


def _files(facts: Facts, paths: list[str]) -> dict[str, str]:
    text = facts.commands.get("networkd-files", _NOTHING).text
    require_lines(text, _WHAT, _MOST_LINES)
    lines: dict[str, list[str]] = {path: [] for path in paths}
    for line in text.splitlines():
        # The name of a file may have a colon in it: the longest one that fits is meant.
        path = max((each for each in _names(line) if each in lines), key=len, default=None)
        if path is not None:
            lines[path].append(line[len(path) + 1 :])
    return {path: "".join(f"{line}\n" for line in found) for path, found in lines.items()}


def _names(line: str) -> Iterator[str]:
    at = line.find(":")
    while 0 <= at < 4096:
        yield line[:at]
        at = line.find(":", at + 1)
