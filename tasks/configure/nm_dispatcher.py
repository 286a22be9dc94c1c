"""Scripts that NetworkManager's dispatcher runs when a NIC comes up: they may undo what a profile says."""

from __future__ import annotations

from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["SCRIPTS", "suspected"]

SCRIPTS = Probe(script=guest_script("nm_dispatcher"))
"""Names the scripts in /etc, without those that packages of distributions put there."""

_MOST, _LONGEST = 3, 200


def suspected(facts: Facts) -> str | None:
    """Return that scripts may be why a profile that is active is not in force, None without any."""
    paths = sorted(word.partition(" ")[2] for word in facts.words if word.startswith("dispatcher "))
    if not paths:
        return None
    more = f" and {len(paths) - _MOST} more" if len(paths) > _MOST else ""
    names = ", ".join(path[:_LONGEST] for path in paths[:_MOST])
    return f"something changed what the active profile sets; NetworkManager's dispatcher runs {names}{more}"
