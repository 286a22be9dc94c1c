"""Undo one section's change by a real shell, as a run without a guard does: copied before, restored after."""

from __future__ import annotations

from labrun.tasks.configure.confirmation import KEPT, kept_functions, live_values
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.guest.shell import quote

__all__ = ["keeping", "undoing"]


def keeping(section: SectionPlan, place: object) -> str:
    """Return shell text that copies below ``place`` what ``undoing`` needs."""
    words = " ".join(quote(path) for path in section.saves)
    return f"( {kept_functions([section])}keep {words}\n)\n".replace(KEPT, f"{place}/kept")


def undoing(section: SectionPlan, place: object, *, on: str = "live") -> str:
    """Return shell text that undoes the change, on a host that runs (``live``) or boots (``boot``)."""
    values = live_values(section) if on == "live" else ""
    text = f"{kept_functions([section])}on={on}\n{values}(\n{section.undo}\n)\n"
    return text.replace(KEPT, f"{place}/kept")
