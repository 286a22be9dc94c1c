"""What people type for labrun's keys, having learnt them from other tools, and small slips of YAML."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from labrun.inventory.file.problems import Path

__all__ = ["SYNONYMS", "example_of", "missing_space", "said_by_labrun", "synonym"]

SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "ram": ("memory",),
    "mem": ("memory",),
    "cpu": ("vcpus",),
    "cpus": ("vcpus",),
    "cores": ("vcpus",),
    "ncpus": ("vcpus",),
    "os": ("image",),
    "box": ("image",),
    "distro": ("image",),
    "template": ("image",),
    "ip": ("networks", "ipv4"),
    "ip4": ("networks", "ipv4"),
    "ip6": ("ipv6", "networks"),
    "ips": ("networks",),
    "nic": ("networks",),
    "nics": ("networks",),
    "interface": ("networks",),
    "interfaces": ("networks",),
    "network": ("networks",),
    "links": ("networks",),
    "type": ("mode", "role", "driver"),
    "kind": ("role", "mode"),
    "subnet": ("cidr",),
    "prefix": ("cidr",),
    "range": ("dhcp", "cidr"),
    "subnet6": ("cidr6",),
    "prefix6": ("cidr6",),
    "size": ("disk",),
    "storage": ("disk",),
    "hdd": ("disk",),
    "gw": ("gateway",),
    "default_gateway": ("gateway",),
    "nodes": ("hosts",),
    "vms": ("hosts",),
    "machines": ("hosts",),
    "domains": ("hosts",),
    "tests": ("checks",),
    "sysctls": ("sysctl",),
    "pkgs": ("packages",),
    "uri": ("hypervisor",),
    "provider": ("hypervisor",),
    "uplink": ("dev",),
    "macaddress": ("mac",),
    "hwaddr": ("mac",),
}
"""The keys meant, of which the first that the place accepts is suggested."""

_EXAMPLES: Final[dict[str, str]] = {
    "hosts": "hosts: {web: {networks: {lan: dhcp}}}",
    "networks": "networks: {lan: {cidr: 172.16.0.0/24}}",
    "groups": "groups: {servers: {hosts: [web]}}",
    "filters": "filters: {no-web: [{deny: out, proto: tcp, port: 80}]}",
    "images": "images: {mine: {path: ./mine.qcow2}}",
}
_OF_A_HOST: Final = "networks: {lan: 172.16.0.11}"
_NO_SPACE: Final = re.compile(r"([a-z][a-z0-9_-]*):([^\s/:][^\n]*)")


def synonym(key: str, known: Collection[str]) -> str | None:
    """Return labrun's word for a key of another tool, None if it is not one or does not belong here."""
    return next((word for word in SYNONYMS.get(key.lower(), ()) if word in known), None)


def said_by_labrun(word: str) -> str:
    """Return the hint on a synonym of this key."""
    hint = f'labrun calls it "{word}"'
    return f"{hint}, such as {_OF_A_HOST}" if word == "networks" else hint


def example_of(path: Path) -> str | None:
    """Return how the mapping at this path is written, for one who has written a list or a word."""
    if len(path) == 1:
        return _EXAMPLES.get(str(path[0]))
    return _OF_A_HOST if len(path) == 3 and path[0] == "hosts" and path[2] == "networks" else None


def missing_space(text: Any) -> str | None:
    """Return the hint on a text that was to be a key and its value, but has no space after the colon."""
    match = _NO_SPACE.fullmatch(text.strip()) if isinstance(text, str) else None
    return f"a colon needs a space after it: {match[1]}: {match[2]}" if match else None
