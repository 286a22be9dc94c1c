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
    name, actual = plan.item.name, _WOULD[plan.action]
    return Outcome(host, section, name, status, AS_IN_FILE, actual, plan.kept or None, plan.item.diff)


def done_row(host: str, section: str, plan: Plan, began: float) -> Outcome:
    """Return the row of `up` for a plan that was carried out."""
    status = Status.OK if plan.action == "none" else Status.PENDING if plan.left else Status.CHANGED
    name, actual, seconds = plan.item.name, _DONE[plan.action], time.monotonic() - began
    why = plan.kept or None
    return Outcome(host, section, name, status, AS_IN_FILE, actual, why, plan.item.diff, seconds)


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
