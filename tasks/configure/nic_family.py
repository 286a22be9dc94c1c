"""The seam of the NICs: what a family has to do, whose guests have one manager of NICs in common."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol, TypeVar

from labrun.inventory.hosts.unmanaged import marked_nic
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts.nics import ManagedNic, Nic
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["Claim", "NicFamily", "chosen_nic"]

_T = TypeVar("_T", bound=ManagedNic)


class Claim(IntEnum):
    """What a manager has to do with the NICs of the lab file: nothing, it runs, or it manages one of them."""

    NONE = 0
    RUNS = 1
    HOLDS = 2


class NicFamily(Protocol):
    """One manager of NICs: what to read, and how what it has becomes what the lab file says.

    ``want`` is what :class:`labrun.tasks.configure.nmcli.Nmcli` desires: ``profiles`` are
    :class:`labrun.tasks.configure.nm_profiles.WantedProfile`, the same for every family.
    """

    name: str
    """The manager, as people call it."""

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Return what only this family reads. It goes to every guest: no process where the manager is not."""
        ...

    def claim(self, want: Json, facts: Facts) -> Claim:
        """Tell from the guest's facts whether this manager runs, and holds one of the NICs; never raises."""
        ...

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the difference, as a pure function; one item per NIC, named after it."""
        ...


def chosen_nic(
    mac: str, marks: tuple[str, ...], by_mac: Mapping[str, _T], nics: Mapping[str, Nic]
) -> _T | None:
    """Return the NIC with this MAC; without one, the NIC that its marks identify."""
    if mac:
        return by_mac.get(mac)
    by_name = {each.interface: each for each in by_mac.values()}
    shown = {name: link.addresses for name, link in nics.items() if name in by_name}
    marked = marked_nic(marks, shown)
    return by_name[marked] if marked is not None else None
