"""The verdict on one thing from its three sides: last applied, desired, observed."""

from __future__ import annotations

from dataclasses import dataclass

from labrun.outcome import Status
from labrun.tasks.state.verdict import combined

__all__ = ["Sides", "combined", "verdict"]


@dataclass(frozen=True, slots=True)
class Sides:
    """What is known about one thing, as fingerprints of its sides.

    ``holds`` tells whether it is as the file says, ``asked`` whether the file mentions it at all.
    ``observed`` None = the host does not report it. ``applied`` are the declared and the observed side
    when it was last applied, None if it never was. ``recorded`` tells whether a record of what was
    applied exists at all.
    """

    holds: bool
    declared: str = ""
    observed: str | None = None
    applied: tuple[str, str] | None = None
    asked: bool = True
    recorded: bool = True


def verdict(sides: Sides) -> Status:
    """Return ``ok``, ``pending`` (the file changed), ``drifted`` (the host), ``conflict``, or ``unknown``."""
    if sides.holds:
        return Status.OK
    if sides.applied is None:
        return Status.PENDING if sides.asked or not sides.recorded else Status.DRIFTED
    file_moved = not sides.asked or sides.declared != sides.applied[0]
    if sides.observed is None:
        return Status.PENDING if file_moved else Status.UNKNOWN
    host_moved = sides.observed != sides.applied[1]
    if file_moved:
        return Status.CONFLICT if host_moved else Status.PENDING
    # If neither changed, this version of labrun never saw it match: it needs a person to look.
    return Status.DRIFTED if host_moved else Status.UNKNOWN
