"""The package managers: one seam for apt, dnf, zypper and apk.

apt and dnf are tested on guests; zypper and apk are written from their manuals (zypper(8), apk(8)), and their
scripts are tested with output in the form that these give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from labrun.tasks.guest.facts.guard import GUARD
from labrun.tasks.guest.scripts import assigned, guest_script, words

__all__ = ["MANAGERS", "PackageManager"]


@dataclass(frozen=True, slots=True)
class PackageManager:
    """How one manager installs, and how the guard takes away what it has installed.

    ``name`` is the word of the fact `packages-by`, and of the script ``NAME_install``. ``lists`` is the
    script that lists and removes packages, empty where the guard keeps the package database itself.
    ``by_hand`` are the commands for people, before the names.
    """

    name: str
    lists: str
    by_hand: tuple[str, ...]

    def apply(self, missing: Sequence[str]) -> str:
        """Return the shell text that installs packages in one transaction."""
        before = ""
        if self.lists:
            before = assigned({"guard": GUARD}) + guest_script(self.lists) + guest_script("packages_before")
        return f"{before}{guest_script(f'{self.name}_install')}install_packages {words(missing)}\n"

    def undo(self) -> str:
        """Return what removes newly installed packages; the guard undoes other effects of their scripts."""
        return guest_script(self.lists) + guest_script("packages_undo") if self.lists else "true\n"

    def commands(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the commands with which a person installs packages."""
        *first, install = self.by_hand
        return (*first, f"{install} {words(names)}")


MANAGERS: Final[Mapping[str, PackageManager]] = MappingProxyType(
    {
        manager.name: manager
        for manager in (
            PackageManager("apt", "", ("apt-get update", "apt-get install --yes")),
            PackageManager("dnf", "rpm_list", ("dnf install --assumeyes",)),
            PackageManager("zypper", "rpm_list", ("zypper --non-interactive install",)),
            PackageManager("apk", "apk_list", ("apk update", "apk add")),
        )
    }
)
"""All of them by name."""
