"""The verdict on one thing from its three sides: last applied, desired, observed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from labrun.outcome import Status
from labrun.tasks.state.fingerprint import Fingerprints, is_of
from labrun.tasks.state.item import Item

__all__ = ["Verdict", "combined", "verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who has moved away from what was applied last: ``pending`` = the file, ``drifted`` = the host.

    ``conflict`` = both have, ``unknown`` = neither has, or it cannot be told. ``parts`` are the verdicts on
    the attributes that differ.
    """

    status: Status
    parts: Mapping[str, Status]

    def moved(self, *kinds: Status) -> tuple[str, ...]:
        """Return the attributes with one of these verdicts, in their order."""
        return tuple(key for key, status in self.parts.items() if status in kinds)


def verdict(
    item: Item, applied: Fingerprints | None, *, asked: bool = True, recorded: bool = True
) -> Verdict:
    """Return who has moved.

    ``applied`` is the record of this thing, None if there is none, empty if it cannot be read. ``asked``
    tells whether the file mentions it at all, ``recorded`` whether a record of anything exists where it
    would stand.
    """
    if item.state == "skipped":
        return Verdict(Status.SKIPPED, {})
    if item.state == "ok":
        return Verdict(Status.OK, {})
    if item.state == "left":
        return Verdict(Status.DRIFTED, {})
    if applied is None:
        return Verdict(Status.PENDING if asked or not recorded else Status.DRIFTED, {})
    if not applied:
        return Verdict(Status.UNKNOWN, {})
    keys = item.differences or item.want or applied
    parts = {key: _one(item, key, applied, asked=asked) for key in keys}
    return Verdict(combined(parts.values()), parts)


def _one(item: Item, key: str, applied: Fingerprints, *, asked: bool) -> Status:
    last = applied.get(key)
    if last is None:
        # An attribute that the file has begun to mention, or one that this version compares first.
        return Status.PENDING if asked else Status.DRIFTED
    file_moved = not asked or not is_of(last.wanted, item.want.get(key, ""))
    here = _values(item, key)
    if not here:
        return Status.PENDING if file_moved else Status.UNKNOWN
    # What is written down for the next start is spelled like the file.
    host_moved = not all(is_of(last.found, value) or is_of(last.wanted, value) for value in here)
    if file_moved:
        return Status.CONFLICT if host_moved else Status.PENDING
    # If neither changed, this version of labrun never saw it match: it needs a person to look.
    return Status.DRIFTED if host_moved else Status.UNKNOWN


def _values(item: Item, key: str) -> set[str]:
    """Return the attribute's value now and after a restart; nothing if the host does not report it."""
    if item.refused is not None and not item.have:
        return set()
    now = item.seen.get(key, item.have.get(key, ""))
    return {now, item.later.get(key, now)}


def combined(verdicts: Iterable[Status]) -> Status:
    """Return the verdict on a thing from those on its parts; ``ok`` if it has none."""
    found = set(verdicts)
    if Status.CONFLICT in found or {Status.PENDING, Status.DRIFTED} <= found:
        return Status.CONFLICT
    order = (Status.DRIFTED, Status.PENDING, Status.UNKNOWN)
    return next((status for status in order if status in found), Status.OK)
