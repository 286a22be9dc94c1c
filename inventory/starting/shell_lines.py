"""Read the commands of `ip`, `ifconfig`, `route` and `sysctl` with which labs configure their machines.

They are read as text, word by word, and never run.
"""

from __future__ import annotations

import re
import shlex
from ipaddress import ip_address, ip_interface, ip_network
from typing import Final

from labrun.inventory.starting.draft import Address, DraftHost, Interface, Subnet

__all__ = ["MOST_LINES", "read_command"]

MOST_LINES: Final = 2000
_OBJECTS: Final = {"a": "address", "addr": "address", "address": "address", "r": "route", "ro": "route"}
_OBJECTS_ALSO: Final = {"route": "route", "link": "link", "l": "link"}
_ADD: Final = ("a", "ad", "add", "replace", "r", "change")
_IGNORED: Final = re.compile(r"\s*(#.*)?$")
_SYSCTL: Final = re.compile(r"([a-z0-9_.*/-]{3,100})\s*=\s*(-?[0-9]{1,12})")
_PROC: Final = re.compile(r"echo\s+[\"']?(-?\d{1,12})[\"']?\s*>\s*/proc/sys/([a-z0-9_/.-]{3,100})\s*")


def read_command(host: DraftHost, line: str) -> bool:
    """Take over one line of shell into the host; True if it was understood, or says nothing.

    A NIC is known by its name in the source: addresses on others are not understood.
    """
    if _IGNORED.match(line):
        return True
    if match := _PROC.fullmatch(line.strip()):
        return _sysctl(host, match[2].replace("/", "."), match[1])
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return False
    if any(re.search(r"[;&|<>`$]", word) for word in words):
        return False
    if words[:1] == ["sudo"]:
        words = words[1:]
    command, arguments = words[0].rsplit("/", 1)[-1], words[1:]
    if command in ("sh", "bash", "ash") and arguments[:1] == ["-c"] and len(arguments) == 2:
        return read_command(host, arguments[1])
    try:
        if command == "ip":
            return _ip(host, [word for word in arguments if word not in ("-4", "-6", "-f", "inet", "inet6")])
        if command == "ifconfig":
            return _ifconfig(host, arguments)
        if command == "route":
            return _route(host, arguments)
        if command == "sysctl":
            return _sysctl_words(host, arguments)
    except ValueError:
        return False
    return False


def _ip(host: DraftHost, words: list[str]) -> bool:
    kind = {**_OBJECTS, **_OBJECTS_ALSO}.get(words[0] if words else "")
    if kind == "link":
        # Everything that labrun configures is up.
        return "up" in words or words[-1:] == ["up"]
    if kind is None or len(words) < 3 or words[1] not in _ADD:
        return False
    if kind == "address":
        return _address(host, _after(words, "dev"), ip_interface(words[2]))
    via = _after(words, "via")
    if via is None:
        return False
    return _next_hop(host, words[2], ip_address(via))


def _after(words: list[str], key: str) -> str | None:
    place = words.index(key) + 1 if key in words else len(words)
    return words[place] if place < len(words) else None


def _address(host: DraftHost, nic: str | None, address: Interface) -> bool:
    found = host.nic(nic or "")
    if found is None or address.network.prefixlen == address.max_prefixlen:
        return False
    if address not in found.addresses:
        found.addresses.append(address)
    return True


def _next_hop(host: DraftHost, to: str, via: Address) -> bool:
    prefix: Subnet | None = None
    if to not in ("default", "0/0"):
        prefix = ip_network(to)
    if prefix is None or prefix.prefixlen == 0:
        if via not in host.gateways:
            host.gateways.append(via)
    elif (prefix, via) not in host.routes:
        host.routes.append((prefix, via))
    return True


def _ifconfig(host: DraftHost, words: list[str]) -> bool:
    words = [word for word in words if word not in ("inet", "inet6", "add")]
    if len(words) == 2 and words[1] == "up":
        return True
    if len(words) < 2:
        return False
    mask = _after(words, "netmask")
    length = f"/{mask}" if mask is not None and "/" not in words[1] else ""
    if not length and "/" not in words[1]:
        return False
    return _address(host, words[0], ip_interface(words[1] + length))


def _route(host: DraftHost, words: list[str]) -> bool:
    if words[:1] != ["add"]:
        return False
    via = _after(words, "gw")
    if via is None:
        return False
    kind = words[1]
    if kind == "default":
        return _next_hop(host, "default", ip_address(via))
    if kind not in ("-net", "-host") or len(words) < 3:
        return False
    mask = _after(words, "netmask")
    to = f"{words[2]}/{mask}" if mask is not None else words[2]
    return _next_hop(host, to, ip_address(via))


def _sysctl_words(host: DraftHost, words: list[str]) -> bool:
    settings = [word for word in words if not word.startswith("-")]
    found = [_SYSCTL.fullmatch(word) for word in settings]
    if not found or not all(found):
        return False
    return all(_sysctl(host, match[1].replace("/", "."), match[2]) for match in found if match)


def _sysctl(host: DraftHost, key: str, value: str) -> bool:
    if key in ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding"):
        # Forwarding is what a role is in a lab file. `0` does not make a router a host: IPv6 may be meant.
        if value != "0":
            host.router = True
        return True
    if not key.startswith("net."):
        return False
    if re.search(r"\.(eth|ens|enp|net)\d", key):
        return False
    host.sysctl[key] = value
    return True
