"""What a plan is made of: items, the changes of one section, and the seam every resource fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from labrun.inventory.model import Host, Lab
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["HostPlan", "Item", "Json", "Resource", "SectionPlan", "Seen", "State"]

Json = Mapping[str, Any]
"""A plain JSON-able mapping, as it travels in Nornir's host data."""

State = Literal["ok", "change", "refused", "skipped"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a host shall hold: how it should be, how it is, and what labrun makes of that.

    ``refused`` = it cannot be made so, ``why`` says the reason; ``skipped`` = it was not asked.
    ``diff`` is text for people, lines beginning with ``-`` and ``+``. ``declared`` and ``observed``
    are the whole of what the file asks and of what the host shows, for comparison with an earlier
    run; None = ``expected`` and ``actual`` say it all. ``observed`` follows from the host alone,
    whatever the file asks, and has nothing volatile in it.
    """

    name: str
    state: State
    expected: str = ""
    actual: str = ""
    why: str | None = None
    diff: str | None = None
    declared: str | None = None
    observed: str | None = None


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """The items of one resource, and what would make them true.

    ``apply`` is shell text for a root shell with ``set -e``, empty when nothing is to be done;
    ``undo`` puts back what ``apply`` replaces, empty where nothing in it can close the way in: the
    guard in the guest runs it with ``set -e`` when nobody confirms, and again until it ends with 0; also at
    the next boot, before NetworkManager and sshd start (``$on`` is then ``boot`` and not ``live``).
    ``saves`` are files that are copied aside before ``apply``: ``restore PATH`` in ``undo`` puts one
    back, or removes it where there was none. ``kernel`` are paths below /proc/sys and the values they had:
    they go back before anything else. ``wide`` = ``apply`` runs what others wrote, so anything may change
    with it, and the guard looks after the whole host. ``harmless`` = it goes back with the others, and
    alone it needs no guard. ``seconds`` is how long ``apply`` may take.
    ``gateways`` have to answer when the change is in place.
    ``partial`` = its items stand each for itself: one that does not take is no reason to take the rest back.
    ``commands`` are what a person would type instead. ``secrets`` are texts found on the host that
    must not be shown; those of the lab file stand in the spec already.
    """

    section: str
    items: tuple[Item, ...] = ()
    apply: str = ""
    undo: str = ""
    commands: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    saves: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    partial: bool = False
    kernel: tuple[tuple[str, str], ...] = ()
    wide: bool = False
    harmless: bool = False
    seconds: int = 10

    @property
    def changes(self) -> tuple[Item, ...]:
        """Return the items that would change."""
        return tuple(item for item in self.items if item.state == "change")


@dataclass(frozen=True, slots=True)
class HostPlan:
    """All sections of one host, in the order in which they are applied."""

    host: str
    sections: tuple[SectionPlan, ...]

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is left to do; refused items are not something to do."""
        return not any(plan.apply for plan in self.sections)

    def items(self) -> dict[tuple[str, str], Item]:
        """Return every item by section and name."""
        return {(plan.section, item.name): item for plan in self.sections for item in plan.items}


class Resource(Protocol):
    """One kind of thing that ``configure`` holds true: desired, observed, plan, apply in one module."""

    section: str

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return what the lab file asks of this host; None where it asks for nothing.

        Under the key ``secrets`` it lists the texts in it that must never be shown.
        """
        ...

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the names of the rows that ``want`` leads to."""
        ...

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Return what has to be read in the guest to compare it with ``want``: a set, others may ask too."""
        ...

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the difference, as a pure function."""
        ...

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return the commands a person would type to get there from nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A host as one gather found it: the facts, and what differs from the spec."""

    plan: HostPlan
    facts: Facts
