"""What filters, networks and machines have in common: what is wanted, what is there, what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from labrun.inventory.model import Image
from labrun.ownership import Tag
from labrun.tasks.state.item import NOTHING, Attributes, Item

__all__ = [
    "Action",
    "Busy",
    "ImageUse",
    "Observed",
    "Plan",
    "Planned",
    "Spec",
    "item_of",
    "plan_of",
    "yes_or_no",
]

Action = Literal["none", "create", "update", "restart", "start", "recreate", "remove"]


@dataclass(frozen=True, slots=True)
class Spec:
    """One filter or network as libvirt should have it, as plain values.

    ``name`` is the name in the lab, ``full_name`` the one in libvirt.
    """

    lab: str
    name: str
    full_name: str
    want: Attributes
    xml: str


@dataclass(frozen=True, slots=True)
class Observed:
    """One object of a lab in libvirt; ``full_name`` is its name there.

    ``have`` is what runs, of an object that does not run its definition; ``later`` is what the definition
    of a running one says otherwise. Machines have ``host`` and ``state``: ``running``, ``paused``,
    ``shut off`` or ``crashed``, and ``reason`` is libvirt's for it. A filter has no ``tag``.
    """

    full_name: str
    have: Attributes
    later: Attributes = field(default_factory=lambda: NOTHING)
    tag: Tag | None = None
    host: str = ""
    state: str = ""
    reason: str = ""

    @property
    def defined(self) -> Attributes:
        """Return what the definition says."""
        return {**self.have, **self.later}

    def otherwise(self, **texts: Mapping[str, str]) -> Observed:
        """Return the object with other texts for values of attributes: ``autostart={"yes": "almost"}``."""
        now = {**self.have, **{key: of.get(self.have[key], self.have[key]) for key, of in texts.items()}}
        return replace(self, have=now)

    @property
    def standing(self) -> str:
        """Return a machine's state, with libvirt's reason for it if there is one."""
        return f"{self.state} ({self.reason})" if self.reason else self.state


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about one object: ``update`` is in place, ``restart`` is stop, redefine and start.

    ``start`` tells whether a machine has to be started as well; ``kept`` is why nothing is done after all, or
    why the attributes that are ``left`` stay as they are while the others change.
    """

    item: Item
    action: Action
    start: bool = False
    kept: str = ""
    left: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Planned:
    """One filter or network of the file: its spec, its plan, and what is there, None if there is none."""

    spec: Spec
    plan: Plan
    seen: Observed | None


class Busy(NamedTuple):
    """The lab's running machines on a network, by host: those of this run, and the others."""

    chosen: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class ImageUse(NamedTuple):
    """An image by its name in the store, and the driver and URI that machines are made from it by.

    ``declared`` is what the lab file says of it, None if it is only named there.
    """

    driver: str
    uri: str
    image: str
    declared: Image | None = None


def item_of(name: str, want: Attributes, seen: Observed | None) -> Item:
    """Return an object's item: what is wanted beside what is there."""
    return Item(name, want) if seen is None else Item(name, want, seen.have, seen.later)


def plan_of(item: Item, change: Action = "update") -> Plan:
    """Return the plan of an item: ``change`` is what an object takes that is there and differs."""
    if not item.have:
        return Plan(item, "create")
    return Plan(item, change if item.differences else "none")


def yes_or_no(value: object) -> str:
    """Return a switch as text."""
    return "yes" if value else "no"
