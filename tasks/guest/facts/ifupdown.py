"""NICs as ifupdown has them: its stanzas in /etc/network, and which interfaces it has brought up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from labrun.bounded import require_lines
from labrun.inventory.route_patterns import RoutePattern
from labrun.tasks.guest.facts.links import links
from labrun.tasks.guest.facts.nics import Nic, nics_of, without_ipv6
from labrun.tasks.guest.facts.rules import PolicyRule, rules
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = [
    "FOLDER",
    "MAIN",
    "PROBE",
    "UNITS",
    "IfupdownLink",
    "IfupdownState",
    "ifupdown_state",
    "only_for",
    "stanzas",
]

MAIN = "/etc/network/interfaces"
FOLDER = "/etc/network/interfaces.d"
UNITS = ("networking.service",)
PROBE = Probe(script=guest_script("ifupdown_state"))
"""Asks for its state; to be used with ``links.PROBE``, and ``routes.PROBE6`` for stanzas with IPv6."""

_WHAT = "ifupdown"
_MOST_LINES = 20_000
_NOTHING = Captured("", 127)
_LINE = re.compile(rf"({MAIN}|{FOLDER}/[^:/]+):(.*)")
# What ends a stanza, besides another one: interfaces(5).
_HEADS = frozenset(
    {"mapping", "source", "source-directory", "template", "rename", "no-auto-down", "no-scripts"}
)
# The file of an interface, with the program or the family behind its name.
_RESOLVER = re.compile(r"/run/resolvconf/interfaces?/([^:/]+):(.*)")


@dataclass(frozen=True, slots=True)
class IfupdownLink:
    """One Ethernet NIC: whether ifupdown has brought it up, and its name servers, as resolvconf has them."""

    interface: str
    mac: str
    is_up: bool
    dns: tuple[str, ...] = ()
    searches: tuple[str, ...] | None = None

    @property
    def profile(self) -> str | None:
        """Return the stanza's name, None if it is not in force."""
        return self.interface if self.is_up else None

    @property
    def profile_id(self) -> str:
        """Return what is in force on the NIC, for people."""
        return f"iface {self.interface}" if self.is_up else ""


@dataclass(frozen=True, slots=True)
class IfupdownState:
    """Links by MAC, NICs by interface, and the files with stanzas by path.

    ``resolver`` tells whether resolvconf is there, which takes the stanzas' name servers. ``policy`` are the
    policy rules beyond the kernel's own, None if nobody asked; ``no_ipv6`` the NICs on which the kernel has
    IPv6 switched off. ``vlans`` are the VLAN devices by interface: each may have the MAC of the NIC below it.
    ``is_ng`` = it is ifupdown-ng, which Alpine has.
    """

    links: Mapping[str, IfupdownLink]
    nics: Mapping[str, Nic]
    files: Mapping[str, str]
    resolver: bool = True
    policy: tuple[PolicyRule, ...] | None = None
    no_ipv6: frozenset[str] = frozenset()
    vlans: Mapping[str, IfupdownLink] = field(default_factory=dict)
    is_ng: bool = False


def ifupdown_state(facts: Facts, ignored: tuple[RoutePattern, ...] = ()) -> IfupdownState | None:
    """Return the state of a gather with :data:`PROBE`; None where there is no ifupdown.

    The routes that fit ``ignored`` are left out. Raises CommandError, UnreadableError.
    """
    if "ifupdown" not in facts.words:
        return None
    asked = [version for version in (4, 6) if f"rules{version}" in facts.commands]
    found = [*_links(facts)]
    return IfupdownState(
        {each.mac: each for kind, each in found if not kind},
        {name: _leased(facts, nic) for name, nic in nics_of(facts, ignored).items()},
        _files(facts),
        "ifupdown-resolver" in facts.words,
        tuple(rule for version in asked for rule in rules(facts, version)) if asked else None,
        without_ipv6(facts),
        {each.interface: each for kind, each in found if kind == "vlan"},
        "ifupdown-ng" in facts.words,
    )


def stanzas(files: Mapping[str, str], interface: str) -> Iterator[str]:
    """Yield the paths of the files that have a stanza of an interface."""
    for path, text in files.items():
        heads = (line.split() for line in text.splitlines())
        if any(words[:2] == ["iface", interface] for words in heads):
            yield path


def only_for(text: str, interfaces: frozenset[str]) -> str:
    """Return what a file says of these interfaces alone, empty if that is nothing."""
    kept: list[str] = []
    stanza = False
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["iface"]:
            stanza = words[1:2] != [] and words[1] in interfaces
        elif words[:1] and (words[0] == "auto" or words[0].startswith("allow-")):
            named = [word for word in words[1:] if word in interfaces]
            kept += [" ".join([words[0], *named])] if named else []
            stanza = False
        elif words[:1] and words[0] in _HEADS:
            stanza = False
        if stanza:
            kept.append(line)
    has_stanza = any(line.split()[:1] == ["iface"] for line in kept)
    return "".join(f"{line}\n" for line in kept) if has_stanza else ""


def _text(facts: Facts, name: str) -> str:
    text = facts.commands.get(name, _NOTHING).text
    require_lines(text, _WHAT, _MOST_LINES)
    return text


def _files(facts: Facts) -> dict[str, str]:
    files: dict[str, str] = {}
    for line in _text(facts, "ifupdown-files").splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            files[match[1]] = f"{files.get(match[1], '')}{match[2]}\n"
    return files


def _links(facts: Facts) -> Iterator[tuple[str, IfupdownLink]]:
    """Yield the Ethernet devices, each with its kind if it stands on others."""
    # Such as `eth0=eth0`; ifupdown-ng counts behind it who has asked for the interface.
    up = {
        line.split()[0].partition("=")[0] for line in _text(facts, "ifupdown-up").splitlines() if line.strip()
    }
    servers: dict[str, list[str]] = {}
    searches: dict[str, list[str]] = {}
    for line in _text(facts, "ifupdown-dns").splitlines():
        match = _RESOLVER.fullmatch(line)
        if match is None:
            continue
        interface, words = match[1].split(".")[0], match[2].split()
        if len(words) > 1 and words[0] == "nameserver":
            servers.setdefault(interface, []).append(words[1])
        elif words and words[0] in ("search", "domain"):
            searches.setdefault(interface, []).extend(words[1:])
    for link in links(facts):
        if link.is_ethernet:
            mac = link.burned_in or link.mac
            found = tuple(dict.fromkeys(searches.get(link.name, ())))
            dns = tuple(dict.fromkeys(servers.get(link.name, ())))
            kind = link.kind if link.is_stacked else ""
            yield kind, IfupdownLink(link.name, mac, link.name in up, dns, found)


def _leased(facts: Facts, nic: Nic) -> Nic:
    """Return the NIC with its defaults by a DHCP lease marked so: dhclient adds them as by hand."""
    routers = {
        word.strip(",;") for line in _text(facts, "ifupdown-leases").splitlines() for word in line.split()[2:]
    }
    routes = {
        hop: "dhcp"
        if hop.prefix.prefixlen == 0 and protocol == "boot" and str(hop.via) in routers
        else protocol
        for hop, protocol in nic.routes.items()
    }
    return replace(nic, routes=routes)
