"""The machine's hostname, now and after the next boot."""

from __future__ import annotations

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.plan import Item, Json, SectionPlan
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe, install, quote
from labrun.tasks.state.sections import HOSTNAME

__all__ = ["Hostname"]

(_STATIC,) = HOSTNAME.files
_RUNNING = "/proc/sys/kernel/hostname"
_NAME = "hostname"
_SET = guest_script("set_hostname")


class Hostname:
    """The resource ``hostname``: one row of that name, if the lab file declares one."""

    section = HOSTNAME.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"value": name}``; None if the file declares none, and the machine keeps its name."""
        return {"value": host.hostname} if host.hostname is not None else None

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the one row's name."""
        return (_NAME,)

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read the running name and the file that sets it at boot."""
        return (Probe((_RUNNING, _STATIC)),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return what differs: the running name, the one at boot, or both."""
        value = str(want["value"])
        running = facts.files.get(_RUNNING, "").strip()
        static = _at_boot(facts.files.get(_STATIC))
        actual = running if static == running else f"{running} ({static or 'no name'} after a reboot)"
        if running == static == value:
            return SectionPlan(self.section, (Item(_NAME, "ok", value, actual),))
        diff = []
        if running != value:
            diff += [f"-running: {running}", f"+running: {value}"]
        if static != value:
            diff += [f"-{_STATIC}: {static}"] if static else []
            diff.append(f"+{_STATIC}: {value}")
        item = Item(_NAME, "change", value, actual, None, "\n".join(diff))
        undo = f'{_SET}[ "$on" != live ] || set_hostname {quote(running)}\nrestore {_STATIC}\n'
        return SectionPlan(
            self.section,
            (item,),
            _apply(value),
            undo,
            self.explain(want),
            saves=(_STATIC,),
            harmless=True,
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return hostnamectl's command."""
        return (f"hostnamectl set-hostname {quote(str(want['value']))}",)


def _at_boot(text: str | None) -> str:
    lines = (line.strip() for line in (text or "").splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def _apply(value: str) -> str:
    return f"{_SET}set_hostname {quote(value)}\n{install(_STATIC, value + chr(10), '0644')}"
