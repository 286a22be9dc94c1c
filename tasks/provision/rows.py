"""The rows of libvirt's objects: what would be done, what was done, and what failed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

from labrun.errors import HypervisorError, LabrunError
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision.objects import Action, ImageUse, Plan

__all__ = [
    "AS_DECLARED",
    "AS_IN_FILE",
    "done_row",
    "failure_row",
    "image_row",
    "kept_row",
    "planned_row",
    "removed_row",
]

AS_IN_FILE, AS_DECLARED = "as in the file", "as declared"
_MOST_WORDS = 6  # of a list that are named; the diff has all
_LIST = 2  # words from which on a value counts as a list
_WOULD: Mapping[Action, str] = MappingProxyType(
    {
        "none": AS_DECLARED,
        "create": "would be created",
        "update": "would be changed in place",
        "restart": "would be restarted",
        "start": "would be started",
        "recreate": "would be recreated",
        "remove": "would be removed",
    }
)
_DONE: Mapping[Action, str] = MappingProxyType(
    {
        "none": AS_DECLARED,
        "create": "created",
        "update": "changed in place",
        "restart": "restarted",
        "start": "started",
        "recreate": "recreated",
    }
)


def planned_row(host: str, section: str, plan: Plan) -> Outcome:
    """Return the row of `plan`."""
    if plan.kept and not plan.left:
        return kept_row(host, section, plan, plan.kept)
    status = Status.OK if plan.action == "none" else Status.WOULD_CHANGE
    name, actual, why = plan.item.name, _WOULD[plan.action], plan.kept or None
    changes = _changes(plan)
    return Outcome(host, section, name, status, AS_IN_FILE, actual, why, plan.item.diff, changes=changes)


def done_row(host: str, section: str, plan: Plan, began: float) -> Outcome:
    """Return the row of `up` for a plan that was carried out."""
    status = Status.OK if plan.action == "none" else Status.PENDING if plan.left else Status.CHANGED
    name, actual, seconds = plan.item.name, _DONE[plan.action], time.monotonic() - began
    why, diff, changes = plan.kept or None, plan.item.diff, _changes(plan)
    return Outcome(host, section, name, status, AS_IN_FILE, actual, why, diff, seconds, changes=changes)


def _changes(plan: Plan) -> tuple[str, ...]:
    """Return what of an object changes; nothing of one that is new, since the file shows all of it."""
    if plan.action in ("none", "create", "remove"):
        return ()
    return tuple(change for key, each in plan.item.differences.items() if (change := _change(key, *each)))


def _change(key: str, now: str, wanted: str) -> str:
    """Return ``memory 512 -> 768``; of a list of words only those that come and go."""
    have, want = now.split(), wanted.split()
    if max(len(have), len(want)) < _LIST:
        return f"{key} {now or 'none'} -> {wanted or 'none'}"
    less = [f"- {word}" for word in have if word not in want]
    more = [f"+ {word}" for word in want if word not in have]
    if len(less) + len(more) > _MOST_WORDS:
        return key
    return f"{key} {', '.join([*less, *more]) or 'in another order'}"


def kept_row(host: str, section: str, plan: Plan, why: str) -> Outcome:
    """Return the row of `up` for a plan that was not carried out."""
    name, diff = plan.item.name, plan.item.diff
    return Outcome(host, section, name, Status.PENDING, AS_IN_FILE, "as before", why, diff)


def image_row(use: ImageUse, status: Status, actual: str, seconds: float = 0.0) -> Outcome:
    """Return the row of an image, which has no settings: it is there, or it is brought there."""
    actual = f"{use.driver}: {actual}"
    return Outcome(HYPERVISOR, "image", use.image, status, "there", actual, seconds=seconds)


def removed_row(host: str, section: str, name: str, began: float) -> Outcome:
    """Return the row of an object that was removed."""
    seconds = time.monotonic() - began
    return Outcome(host, section, name, Status.CHANGED, "absent", "removed", seconds=seconds)


def failure_row(error: LabrunError, host: str, section: str, name: str, began: float) -> Outcome:
    """Return the row of a step that failed with an error."""
    why = f"{error.step}: {error.reason}" if error.step else error.reason
    return Outcome(
        host=host,
        section=section,
        name=name,
        status=Status.FAILED,
        why=f"{why} ({error.hint})" if error.hint else why,
        seconds=time.monotonic() - began,
        hypervisor_fault=isinstance(error, HypervisorError),
    )
