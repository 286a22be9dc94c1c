"""What a command looked at: with it, its rows become one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["Detail", "Scene"]

Detail = tuple[str, str]
"""A label such as ``since``, and a line of text about a row."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a command looked at: a lab, its hosts in file order, and how many networks it has.

    ``place`` is the hypervisor's URI, empty without one. ``changes`` = what was or would be done is shown
    rather than how things are. ``details`` are more lines about rows, by host, section and name. ``next`` is
    the command that usually follows, ``first`` the first line of all, each empty for none. ``head`` stands
    after the lab's name in place of what it consists of. ``existing`` are the hosts that labrun did not make.
    """

    lab: str
    hosts: tuple[str, ...]
    networks: int
    place: str = ""
    changes: bool = False
    details: Mapping[tuple[str, str, str], Sequence[Detail]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    next: str = ""
    first: str = ""
    head: str = ""
    existing: frozenset[str] = frozenset()
