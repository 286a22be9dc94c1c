"""The distribution's packages: which manager the host has, and what is installed in which version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from labrun.tasks.guest.scripts import guest_script, words
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = ["InstalledPackages", "installed_packages", "probe"]

# rpm = its database alone, without a manager that labrun knows.
_MANAGERS = ("apt", "dnf", "zypper", "rpm", "apk")
_NOT_ASKED = Captured("", 127)


@dataclass(frozen=True, slots=True)
class InstalledPackages:
    """The packages that are completely installed: versions by ``name:architecture``.

    ``manager`` is ``apt``, ``dnf``, ``zypper`` or ``apk``; ``rpm`` where only rpm itself is there.
    """

    manager: str
    versions: Mapping[str, str]

    def version(self, name: str) -> str | None:
        """Return a package's version, None if it is not installed; ``name`` may end in ``:architecture``."""
        wanted, _, architecture = name.partition(":")
        for full, version in self.versions.items():
            installed, _, built = full.partition(":")
            if installed == wanted and architecture in ("", built):
                return version
        return None


def probe(names: Iterable[str]) -> Probe:
    """Ask dpkg, or else rpm or apk, once about all these packages."""
    return Probe(script=f"{guest_script('packages_state')}packages_state {words(names)}\n")


def installed_packages(facts: Facts) -> InstalledPackages | None:
    """Return which of the packages are installed; None if the host has no dpkg, rpm or apk."""
    manager = facts.word("packages-by") or ""
    if manager not in _MANAGERS:
        return None
    return InstalledPackages(manager, dict(_versions(facts.commands.get("packages", _NOT_ASKED).text)))


def _versions(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1] == "installed":
            yield parts[0], parts[2]
