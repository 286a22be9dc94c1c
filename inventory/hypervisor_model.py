"""The frozen model of one of a lab's hypervisors, where the lab file names several."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

__all__ = ["Hypervisor"]


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """A hypervisor by its name in the lab file.

    ``tunnel`` is its own address to which the others send the frames of networks that span, None if none
    may. ``weight`` is its share of the hosts that name no hypervisor, relative to the others.
    """

    name: str
    uri: str
    tunnel: IPv4Address | IPv6Address | None = None
    weight: int = 1
