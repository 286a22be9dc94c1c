"""What the lab file says under ``nmcli:`` as a part of verify: the NICs that have such properties."""

from __future__ import annotations

from dataclasses import replace

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.nm_choices import lacking
from labrun.tasks.configure.nmcli import Nmcli
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.shell import Facts, Probe
from labrun.tasks.state.item import Item

__all__ = ["NmcliOfFile"]


class NmcliOfFile:
    """The resource ``nmcli``, limited to NICs for which the file gives properties; named after the NICs.

    Addresses, routes and the MTU that follow from properties have rows of their own; here it is whether the
    profile has them all, is active as it stands, and NetworkManager and the kernel have what follows from it.
    """

    section = Nmcli.section

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return what is asked of the host, None if no NIC of it has properties."""
        return Nmcli().desired(lab, host) if any(nic.nmcli for nic in host.interfaces) else None

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the NICs that have properties."""
        return tuple(str(profile["network"]) for profile in want["profiles"] if profile["properties"])

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read what ``configure`` reads."""
        return Nmcli().facts(want)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the difference as ``configure`` would see it."""
        plan = Nmcli().plan(want, facts)
        names = self.names(want)
        return replace(plan, items=tuple(_in_force(item) for item in plan.items if item.name in names))

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return the commands that ``configure`` explains."""
        return Nmcli().explain(want)


def _in_force(item: Item) -> Item:
    """Return the item with what the NIC does not have in words; the profile's text is for `configure`."""
    if item.state != "change" or "nic" not in item.differences:
        return item
    actual = f"{item.actual}, not as its properties say"
    note = lacking((item.diff or "").splitlines()) or item.note or "its profile is not active"
    return replace(item, words=replace(item.words, actual=actual), note=note)
