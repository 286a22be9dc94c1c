"""Units of systemd and services of OpenRC: whether they exist, start at boot, and run now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labrun.errors import CommandError
from labrun.tasks.guest.scripts import assigned, guest_script, words
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = ["Unit", "boot_probe", "no_start", "probe", "read_units", "service_of", "unit_of", "units"]

_KINDS = (".service", ".socket", ".timer", ".path", ".mount", ".automount", ".swap", ".target", ".slice")
_PROPERTIES = "LoadState,UnitFileState,ActiveState"
_ENABLED = frozenset({"enabled", "alias"})
# A boot starts these, or another unit pulls them in.
_STARTED = frozenset({"enabled", "alias", "generated", "static", "indirect", "linked"})
_RUNNING = frozenset({"active", "reloading"})
# systemd-analyze prints a line for each condition, then one for all together.
_FAILED = re.compile(r"(?:^|: )([A-Z]\w+=.*) failed\.?$")
_LONGEST = 16_000


def unit_of(name: str) -> str:
    """Return the unit's full name: a service, unless the name has one of systemd's endings."""
    return name if name.endswith(_KINDS) else f"{name}.service"


def service_of(name: str) -> str:
    """Return the name of a service where there is no systemd: without its ending."""
    return name.removesuffix(".service")


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit as systemd reports it: whether it exists, starts at boot, and runs now.

    ``name`` is empty where it was not asked for. ``kept`` is what keeps a unit that is enabled from starting,
    and the files that it comes from.
    """

    load: str
    file: str
    active: str
    name: str = ""
    kept: tuple[str, str] | None = None

    @property
    def is_enabled(self) -> bool:
        return self.file in _ENABLED

    @property
    def is_running(self) -> bool:
        return self.active in _RUNNING

    @property
    def not_at_boot(self) -> str:
        """Return why a boot does not start it, and how it does again."""
        if self.kept is not None:
            reason, path = self.kept
            return f"{self.name} does not start at boot: {reason} ({path}): take it out there"
        verb = "unmask" if self.load == "masked" else "enable"
        state = "masked" if self.load == "masked" else self.file or "not enabled"
        return f"{self.name} does not start at boot, it is {state}: `systemctl {verb} {self.name}`"

    @property
    def shown(self) -> str:
        if self.load == "not-found":
            return "no such unit"
        return f"{self.file or 'not enabled'}, {self.active}"


def probe(names: Iterable[str]) -> Probe:
    """Ask systemd, or else OpenRC, once about all units, named as in the lab file: words without spaces."""
    names = tuple(names)
    values = {
        "properties": _PROPERTIES,
        "units": " ".join(map(unit_of, names)),
        "names": " ".join(map(service_of, names)),
    }
    return Probe(script=assigned(values) + guest_script("services_openrc") + guest_script("services_state"))


def boot_probe(names: tuple[str, ...]) -> Probe:
    """Find out whether a boot starts any of these units.

    systemd is asked only where no link says so, or where files of others may keep a unit from starting.
    """
    return Probe(script=f"no_start {words(names)}\n", after=(Probe(script=guest_script("no_start")),))


def no_start(facts: Facts, names: tuple[str, ...]) -> Unit | None:
    """Return the state of the unit that no boot starts, None if one of them is started or it is not known."""
    output = facts.commands.get(f"no-start {' '.join(names)}")
    if output is None or output.status != 0:
        return next(_kept(facts, names), None)
    found = [unit for unit in read_units(output.text) if unit.load in ("loaded", "masked")]
    if not found or any(unit.load == "loaded" and unit.file in _STARTED for unit in found):
        return None
    # A socket is often masked because the service itself is to listen.
    return max(found, key=lambda unit: (not unit.name.endswith(".socket"), unit.load == "masked"))


def _kept(facts: Facts, names: tuple[str, ...]) -> Iterator[Unit]:
    """Yield the unit that is enabled, and that something of somebody's keeps from starting."""
    for title, output in facts.commands.items():
        kind, _, rest = title.partition(" ")
        name, *paths = rest.split() or ("",)
        if kind == "kept" and name in names:
            lines = output.text[:_LONGEST].splitlines()
            failed = next((found for line in lines if (found := _FAILED.search(line.strip()))), None)
            reason = f"{failed[1]} fails" if failed else output.last_line.removeprefix(f"{name}: ")
            yield Unit("loaded", "enabled", "", name, (reason.rstrip("."), ", ".join(paths)))


def units(facts: Facts, names: Iterable[str]) -> dict[str, Unit]:
    """Return the units that :func:`probe` asked for, by name. Raises CommandError."""
    names = tuple(names)
    output = facts.commands.get("services", Captured("systemctl was not asked", 127))
    listed = list(read_units(output.text))
    if output.status != 0 or len(listed) != len(names):
        raise CommandError(output.last_line, step="systemctl show")
    return dict(zip(names, listed, strict=True))


def read_units(text: str) -> Iterator[Unit]:
    """Yield the units in the output of `systemctl show`, in the order of the query."""
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "LoadState" in values:
            yield Unit(
                values["LoadState"],
                values.get("UnitFileState", ""),
                values.get("ActiveState", ""),
                values.get("Id", ""),
            )
