"""The hypervisor's own devices, addresses, routes and firewall rules, beside what libvirt says."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from labrun.bounded import objects, read_json
from labrun.errors import UnreadableError
from labrun.hypervisor import daemon_pid, is_local
from labrun.tasks.guest.facts.links import Link, parse_links
from labrun.tasks.guest.facts.routes import ObservedRoute, parse_routes

__all__ = [
    "FORWARDING",
    "HypervisorNetwork",
    "hypervisor_network",
    "makes_devices",
    "run_ip",
    "shares_network",
]

_SECONDS = 20
FORWARDING: Final[Mapping[int, str]] = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
"""The kernel's switches of forwarding, below /proc/sys, by IP version; libvirt sets them for a network."""


@dataclass(frozen=True, slots=True)
class HypervisorNetwork:
    """What the kernel says: devices by name, those that are set up, and the routes of the main tables.

    ``rules`` has what ``iptables-save``, ``ip6tables-save`` and ``nft list ruleset`` print, by program;
    those that this user cannot ask are missing. ``not_forwarding`` has the IP versions that it does not
    forward.
    """

    links: Mapping[str, Link]
    up: frozenset[str]
    routes: tuple[ObservedRoute, ...]
    rules: Mapping[str, str] = field(default_factory=dict)
    not_forwarding: frozenset[int] = frozenset()


def shares_network(uri: str) -> bool:
    """Tell whether this process sees the network of the libvirtd behind ``uri``."""
    if not is_local(uri):
        return False
    pid = daemon_pid(uri)
    try:
        theirs = Path(f"/proc/{pid}/ns/net").readlink() if pid is not None else None
        return theirs is None or theirs == Path("/proc/thread-self/ns/net").readlink()
    except OSError:
        # Only root may read it; a libvirtd in a namespace of its own needs root as well.
        return True


def makes_devices(uri: str) -> bool:
    """Tell whether libvirt's networks are devices that this process sees: the test driver makes none."""
    return urlsplit(uri).scheme.split("+")[0] in ("lxc", "qemu") and shares_network(uri)


def hypervisor_network(
    uri: str, *, with_routes: bool = False, with_rules: bool = False
) -> HypervisorNetwork | None:
    """Return the network of a local hypervisor; None for another machine's, or if it cannot be read.

    Routes and rules are empty unless they are asked for.
    """
    if not shares_network(uri):
        return None
    try:
        found = objects(read_json(_output("ip", "-d", "-j", "address"), "ip address"), "ip address", "links")
        links = parse_links(found)
        routes = tuple(route for version in ((4, 6) if with_routes else ()) for route in _routes(version))
    except (OSError, UnreadableError, subprocess.SubprocessError):
        return None
    up = {str(row.get("ifname")) for row in found if "UP" in _flags(row)}
    rules = _rules() if with_rules else {}
    off = frozenset(version for version, path in FORWARDING.items() if _is_zero(path))
    return HypervisorNetwork({link.name: link for link in links}, frozenset(up), routes, rules, off)


def _is_zero(path: str) -> bool:
    try:
        return Path("/proc/sys", path).read_text(encoding="ascii").strip() == "0"
    except OSError:
        # The kernel has no IPv6, for instance.
        return False


def run_ip(*words: str) -> str:
    """Run ``ip`` in the hypervisor's network; return what it complained of, empty if it succeeded."""
    try:
        _output("ip", *words)
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip()
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return ""


def _output(*words: str) -> str:
    program = shutil.which(words[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise FileNotFoundError(words[0])
    done = subprocess.run(
        [program, *words[1:]], capture_output=True, text=True, timeout=_SECONDS, check=True, errors="replace"
    )
    return done.stdout


def _flags(row: Mapping[str, object]) -> list[object]:
    flags = row.get("flags", [])
    return flags if isinstance(flags, list) else []


def _routes(version: int) -> Iterator[ObservedRoute]:
    text = _output("ip", f"-{version}", "-j", "route", "show", "table", "main")
    yield from parse_routes(objects(read_json(text or "[]", "ip route"), "ip route", "routes"), version)


def _rules() -> dict[str, str]:
    texts = {}
    for words in (("iptables-save",), ("ip6tables-save",), ("nft", "list", "ruleset")):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            texts[words[0]] = _output(*words)
    return texts
