"""systemd units: whether they exist, start at boot, and run now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labrun.errors import CommandError
from labrun.tasks.guest.shell import Captured, Facts, Probe, quote

__all__ = ["Unit", "probe", "unit_of", "units"]

_KINDS = (".service", ".socket", ".timer", ".path", ".mount", ".automount", ".swap", ".target", ".slice")
_PROPERTIES = "LoadState,UnitFileState,ActiveState"
_ENABLED = frozenset({"enabled", "alias"})
_RUNNING = frozenset({"active", "reloading"})


def unit_of(name: str) -> str:
    """Return the unit's full name: a service, unless the name has one of systemd's endings."""
    return name if name.endswith(_KINDS) else f"{name}.service"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit as systemd reports it: whether it exists, starts at boot, and runs now."""

    load: str
    file: str
    active: str

    @property
    def is_enabled(self) -> bool:
        return self.file in _ENABLED

    @property
    def is_running(self) -> bool:
        return self.active in _RUNNING

    @property
    def shown(self) -> str:
        if self.load == "not-found":
            return "no such unit"
        return f"{self.file or 'not enabled'}, {self.active}"


def probe(names: Iterable[str]) -> Probe:
    """Ask systemd once about all units, named as in the lab file."""
    words = " ".join(quote(unit_of(name)) for name in names)
    return Probe(script=f"capture services systemctl show --property={_PROPERTIES} -- {words}\n")


def units(facts: Facts, names: Iterable[str]) -> dict[str, Unit]:
    """Return the units that :func:`probe` asked for, by name. Raises CommandError."""
    names = tuple(names)
    output = facts.commands.get("services", Captured("systemctl was not asked", 127))
    found = list(_units(output.text))
    if output.status != 0 or len(found) != len(names):
        raise CommandError(output.last_line, step="systemctl show")
    return dict(zip(names, found, strict=True))


def _units(text: str) -> Iterator[Unit]:
    """Yield the units in the output of `systemctl show`, in the order of the query."""
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "LoadState" in values:
            yield Unit(values["LoadState"], values.get("UnitFileState", ""), values.get("ActiveState", ""))
