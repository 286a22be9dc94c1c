"""The distribution's packages: missing ones are installed, all in one transaction."""

from __future__ import annotations

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.package_managers import MANAGERS
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts.packages import installed_packages, probe
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
        """Ask dpkg, or else rpm or apk, once about all packages."""
        return (probe(want["names"]),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the packages that are not installed."""
        installed = installed_packages(facts)
        if installed is None:
            why = "labrun knows apt-get, dnf, zypper and apk, and none of them is here"
            refused = (Item(name, _INSTALLED, refused=why) for name in want["names"])
            return SectionPlan(self.section, tuple(refused))
        manager = MANAGERS.get(installed.manager)
        unable = (
            None if manager else f"{installed.manager} is here, but neither dnf nor zypper, which install"
        )
        items = tuple(_item(name, installed.version(name), unable) for name in want["names"])
        missing = [item.name for item in items if item.state == "change"]
        if not missing or manager is None:
            return SectionPlan(self.section, items)
        return SectionPlan(
            self.section,
            items,
            manager.apply(missing),
            manager.undo(),
            manager.commands(missing),
            partial=True,
            wide=True,
            seconds=_PATIENCE,
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return apt-get's commands: the host's package manager is unknown here; labrun's image has apt."""
        return MANAGERS["apt"].commands(want["names"])


def _item(name: str, version: str | None, why: str | None) -> Item:
    """Return a package's item; ``why`` is the reason for which a missing one cannot be installed."""
    # An upgrade is not drift: the file does not declare a version.
    if version is not None:
        return Item(name, _INSTALLED, _INSTALLED, words=Words(actual=version))
    return Item(name, _INSTALLED, {}, refused=why, words=Words(actual="not installed"))
