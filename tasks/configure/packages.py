"""The distribution's packages: missing ones are installed, all in one transaction."""

from __future__ import annotations

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts.guard import GUARD
from labrun.tasks.guest.facts.packages import installed_packages, probe
from labrun.tasks.guest.scripts import assigned, guest_script, words
from labrun.tasks.guest.shell import Facts, Probe
from labrun.tasks.state.item import Attributes, Item, Words
from labrun.tasks.state.sections import PACKAGES

__all__ = ["Packages"]

_INSTALLED: Attributes = {"": "installed"}
# The timeout for all of it; the guard ends what takes longer (seconds).
_PATIENCE = 170


class Packages:
    """The resource ``packages``; rows are named after the packages, ``actual`` is the version."""

    section = PACKAGES.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"names": […]}``; None if the lab file lists no packages."""
        names = list(dict.fromkeys(host.packages))
        return {"names": names} if names else None

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the packages' names."""
        return tuple(want["names"])

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Ask dpkg, or else rpm, once about all packages."""
        return (probe(want["names"]),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the packages that are not installed."""
        installed = installed_packages(facts)
        if installed is None:
            why = "labrun knows apt-get and dnf, and neither is here"
            refused = (Item(name, _INSTALLED, refused=why) for name in want["names"])
            return SectionPlan(self.section, tuple(refused))
        items = tuple(_item(name, installed.version(name)) for name in want["names"])
        missing = [item.name for item in items if item.state == "change"]
        if not missing:
            return SectionPlan(self.section, items)
        return SectionPlan(
            self.section,
            items,
            _apply(installed.manager, missing),
            _undo(installed.manager),
            _commands(missing, installed.manager),
            partial=True,
            wide=True,
            seconds=_PATIENCE,
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return apt-get's commands: the host's package manager is unknown here; labrun's image has apt."""
        return _commands(want["names"], "apt")


def _item(name: str, version: str | None) -> Item:
    # An upgrade is not drift: the file does not declare a version.
    have = {} if version is None else _INSTALLED
    return Item(name, _INSTALLED, have, words=Words(actual=version or "not installed"))


def _apply(manager: str, missing: list[str]) -> str:
    before = ""
    if manager == "dnf":
        before = assigned({"guard": GUARD}) + guest_script("rpm_list") + guest_script("rpm_before")
    return f"{before}{guest_script(f'{manager}_install')}install_packages {words(missing)}\n"


def _undo(manager: str) -> str:
    """Return what removes newly installed packages; the guard then undoes other effects of their scripts.

    For dpkg the guard does that, too.
    """
    return "true\n" if manager == "apt" else guest_script("rpm_list") + guest_script("rpm_undo")


def _commands(names: list[str], manager: str) -> tuple[str, ...]:
    if manager == "dnf":
        return (f"dnf install --assumeyes {words(names)}",)
    return ("apt-get update", f"apt-get install --yes {words(names)}")
