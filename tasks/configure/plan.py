"""The parts of a plan: items, the changes of one section, and the interface of every resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from labrun.inventory.model import Host, Lab
from labrun.tasks.guest.shell import Facts, Probe
from labrun.tasks.state.item import Item

__all__ = ["HostPlan", "Json", "Resource", "SectionPlan", "Seen"]

Json = Mapping[str, Any]
"""A plain JSON-able mapping, as it travels in Nornir's host data."""


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """The items of one resource, and what would make them true.

    ``apply`` is shell text for a root shell with ``set -e``, empty if there is nothing to do;
    ``undo`` restores what ``apply`` replaces, empty if nothing in it can lock labrun out: the guard in the
    guest runs it with ``set -e`` if the change is not confirmed, and again until it exits with 0; also at
    the next boot, before NetworkManager and sshd start (``$on`` is then ``boot`` and not ``live``).
    ``saves`` are files that are copied before ``apply``: ``restore PATH`` in ``undo`` puts one
    back, or removes it if it did not exist. ``kernel`` are paths below /proc/sys and their previous values:
    they are restored before anything else. ``wide`` = ``apply`` runs code that labrun did not write, so
    anything may change with it, and the guard covers the whole host. ``harmless`` = it is rolled back
    with the others, but needs no guard by itself. ``seconds`` is how long ``apply`` may take.
    ``gateways`` have to answer once the change is in place. ``checkpoint`` = the guard also has
    NetworkManager remember its active profiles: `roll_back` in ``undo`` brings them back.
    ``partial`` = its items are independent: if one fails, the others need not be rolled back.
    ``commands`` are the equivalent for a person to type. ``secrets`` are texts found on the host that
    must not be shown; those in the lab file are in the spec already.
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
    checkpoint: bool = False

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
        """Tell whether there is nothing left to do; refused items do not count as something to do."""
        return not any(plan.apply for plan in self.sections)

    def items(self) -> dict[tuple[str, str], Item]:
        """Return every item by section and name."""
        return {(plan.section, item.name): item for plan in self.sections for item in plan.items}


class Resource(Protocol):
    """One kind of thing that ``configure`` manages: desired, observed, plan, apply in one module."""

    section: str

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return what the lab file asks of this host; None if it asks for nothing.

        The key ``secrets`` lists the texts in it that must never be shown.
        """
        ...

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the names of the rows that ``want`` produces."""
        ...

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Return what to read in the guest for a comparison with ``want``; probes may be shared."""
        ...

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the difference, as a pure function."""
        ...

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return the commands a person would type to get there from scratch."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A host as one gather found it: the facts, what differs from the spec, how many seconds it took."""

    plan: HostPlan
    facts: Facts
    seconds: float = 0.0
