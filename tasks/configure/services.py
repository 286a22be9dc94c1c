"""Units of systemd, or services of OpenRC: whether they start at boot and whether they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from labrun.errors import CommandError
from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.configure.service_managers import ServiceManager, service_manager
from labrun.tasks.guest.facts.units import Unit, probe, units
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe, quote
from labrun.tasks.state.item import Item, Words
from labrun.tasks.state.sections import SERVICES

__all__ = ["UNDER_SSHD", "Services"]

# Units that stand for many others, and the units that logins need.
_GROUPS = (".target", ".slice", ".mount", ".socket")
_LISTENERS = "ssh.service sshd.service ssh.socket sshd.socket"
# systemd cannot enable or disable these: they have no [Install] section.
_FIXED = frozenset({"static", "generated", "transient", "indirect"})
# The timeout to start or stop a unit; a hanging one must not hold up the others longer (seconds).
_PATIENCE = 60

UNDER_SSHD = Probe(
    script=f"capture services-under-sshd systemctl show --property=Requires --value -- {_LISTENERS}\n"
)


_Wanted = Mapping[str, bool | None]
_Step = tuple[str, str]


class Services:
    """The resource ``services``; rows are named after the units as the lab file writes them."""

    section = SERVICES.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"units": {name: {"enabled": …, "running": …}}}``; None if the file names no unit."""
        if not host.services:
            return None
        units = {name: {"enabled": s.enabled, "running": s.running} for name, s in host.services.items()}
        return {"units": units}

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the units' names."""
        return tuple(want["units"])

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Ask the service manager once about all units."""
        asked = [probe(want["units"])]
        if any(
            name.endswith(_GROUPS) and wanted["running"] is False for name, wanted in want["units"].items()
        ):
            asked.append(UNDER_SSHD)
        return tuple(asked)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the units that are not as declared, now or at the next boot."""
        declared: Mapping[str, _Wanted] = want["units"]
        try:
            existing = units(facts, declared)
        except CommandError as error:
            why = f"systemd cannot be queried: {error.reason}"
            refused = (Item(name, _want(wanted), refused=why) for name, wanted in declared.items())
            return SectionPlan(self.section, tuple(refused))
        manager = service_manager(facts)
        under = frozenset(facts.commands.get("services-under-sshd", Captured("", 0)).text.split())
        items = tuple(
            _item(name, wanted, existing[name], under, manager) for name, wanted in declared.items()
        )
        changing = {item.name: declared[item.name] for item in items if item.state == "change"}
        if not changing:
            return SectionPlan(self.section, items)
        steps = [step for name, wanted in changing.items() for step in _steps(name, wanted, existing[name])]
        undo = _undo(changing, existing, manager)
        return SectionPlan(
            self.section,
            items,
            _script(steps, manager),
            undo,
            tuple(manager.command(verb, name) for name, verb in steps),
            partial=True,
            wide=True,
            seconds=10 + _PATIENCE * len(steps),
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return systemctl's commands: the host's service manager is unknown here."""
        nothing, manager = Unit("loaded", "", ""), service_manager(None)
        return tuple(
            manager.command(verb, name)
            for name, wanted in want["units"].items()
            for _, verb in _steps(name, wanted, nothing)
        )


def _item(name: str, wanted: _Wanted, unit: Unit, under: frozenset[str], manager: ServiceManager) -> Item:
    have = {"boot": _boot(unit.is_enabled), "now": _now(unit.is_running)}
    return Item(
        name,
        _want(wanted),
        have,
        refused=_refusal(name, wanted, unit, under, manager),
        words=Words(actual=unit.shown),
    )


def _want(wanted: _Wanted) -> dict[str, str]:
    enabled, running = wanted["enabled"], wanted["running"]
    return {
        **({} if enabled is None else {"boot": _boot(enabled)}),
        **({} if running is None else {"now": _now(running)}),
    }


def _boot(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"


def _now(running: bool) -> str:
    return "running" if running else "stopped"


def _refusal(
    name: str, wanted: _Wanted, unit: Unit, under: frozenset[str], manager: ServiceManager
) -> str | None:
    full = manager.unit(name)
    if wanted["running"] is False and name in under:
        return f"sshd needs {name}: stopping it would end every login"
    asked = wanted["enabled"] or wanted["running"]
    if unit.load == "not-found":
        # A missing unit neither starts nor runs.
        return f"there is no {manager.kind} {full} here" if asked else None
    if unit.load == "masked" or unit.file.startswith("masked"):
        return f"{full} is masked: `systemctl unmask {full}` first" if asked else None
    if unit.load != "loaded":
        return f"systemd cannot use {full}: {unit.load}"
    if wanted["enabled"] is not None and unit.file in _FIXED:
        return f"{full} is {unit.file}: it can be neither enabled nor disabled"
    return None


def _steps(name: str, wanted: _Wanted, unit: Unit) -> Iterator[_Step]:
    """Yield what to do about what differs, after the row's name."""
    if wanted["enabled"] is not None and (not unit.active or wanted["enabled"] != unit.is_enabled):
        yield name, "enable" if wanted["enabled"] else "disable"
    if wanted["running"] is not None and (not unit.active or wanted["running"] != unit.is_running):
        yield name, "start" if wanted["running"] else "stop"


def _line(name: str, verb: str, manager: ServiceManager) -> str:
    unit = quote(manager.unit(name))
    line = f"set_unit {quote(name)} {verb} {unit}"
    # A unit that ends at once is not running, and waiting does not help.
    after = f" && stays_up {quote(name)} {unit}" if verb == "start" else ""
    return f"{line}{after} || :\n"


def _script(steps: Iterable[_Step], manager: ServiceManager) -> str:
    lines = "".join(_line(name, verb, manager) for name, verb in steps)
    return assigned({"patience": _PATIENCE}) + guest_script("set_unit") + lines + "exit $bad"


def _undo(changing: Mapping[str, _Wanted], existing: Mapping[str, Unit], manager: ServiceManager) -> str:
    """Return what restores the units; at boot the guard has restored the enabled state, which suffices."""
    lines = ['[ "$on" = live ] || exit 0', "bad=0"]
    for name, wanted in changing.items():
        unit = existing[name]
        if wanted["enabled"] is not None and wanted["enabled"] != unit.is_enabled:
            back = manager.command("enable" if unit.is_enabled else "disable", name, "--quiet")
            lines.append(f"{back} || bad=1")
        if wanted["running"] is not None and wanted["running"] != unit.is_running:
            back = manager.command("start" if unit.is_running else "stop", name)
            lines.append(f"timeout 30 {back} || bad=1")
    return "\n".join([*lines, "exit $bad"]) + "\n"
