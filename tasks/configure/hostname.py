"""The machine's hostname, now and after the next boot.

A machine that labrun made got its host's name at the first boot, and so another one is a difference even if
the lab file has no ``hostname``. It has a row only where it differs.
"""

from __future__ import annotations

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe, install, quote
from labrun.tasks.state.item import Item
from labrun.tasks.state.sections import HOSTNAME

__all__ = ["Hostname"]

(_STATIC,) = HOSTNAME.files
_RUNNING = "/proc/sys/kernel/hostname"
_NAME = "hostname"
_SET = guest_script("set_hostname")


class Hostname:
    """The resource ``hostname``: one row of that name, if the lab file declares one or it has another."""

    section = HOSTNAME.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"value": name}``, with ``"given": True`` for the name that labrun gave it.

        None if the machine has a name of its own, or the lab file writes the file that sets it.
        """
        if host.hostname is not None:
            return {"value": host.hostname}
        if host.machine is None or any(file.path == _STATIC for file in host.files):
            return None
        return {"value": host.name, "given": True}

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the one row's name; the name that labrun gave the machine has none while it holds."""
        return () if want.get("given") else (_NAME,)

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read the running name and the file that sets it at boot."""
        return (Probe((_RUNNING, _STATIC)),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return what differs: the running name, the one at boot, or both."""
        value = str(want["value"])
        running = facts.files.get(_RUNNING, "").strip()
        static = _at_boot(facts.files.get(_STATIC))
        if want.get("given") and all(_is_same(value, name) for name in (running, static)):
            return SectionPlan(self.section)
        item = Item(_NAME, {"": value}, {"": running}, later={"": static})
        if item.state == "ok":
            return SectionPlan(self.section, (item,))
        undo = f'{_SET}[ "$on" != live ] || set_hostname {quote(running)}\nrestore {_STATIC}\n'
        return SectionPlan(
            self.section,
            (item,),
            _apply(value),
            undo,
            _commands(value),
            saves=(_STATIC,),
            harmless=True,
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return hostnamectl's command; none for the name that the machine has from its first boot."""
        return () if want.get("given") else _commands(str(want["value"]))


def _commands(value: str) -> tuple[str, ...]:
    return (f"hostnamectl set-hostname {quote(value)}",)


def _is_same(given: str, found: str) -> bool:
    """Tell whether it is the given name; some systems add a domain at the first boot."""
    return found.lower().partition(".")[0] == given


def _at_boot(text: str | None) -> str:
    lines = (line.strip() for line in (text or "").splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def _apply(value: str) -> str:
    return f"{_SET}set_hostname {quote(value)}\n{install(_STATIC, value + chr(10), '0644')}"
