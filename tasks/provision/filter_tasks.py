"""The Nornir tasks for filters, which run on the hypervisor itself."""

from __future__ import annotations

import time

from nornir.core.task import Result, Task

from labrun.errors import LabrunError
from labrun.hypervisor import connect
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision.failure import failure_row
from labrun.tasks.provision.filters import (
    FilterSpec,
    apply_filter,
    observe_filters,
    plan_filter,
    remove_filter,
)

__all__ = ["provision_filters", "remove_filters"]

_DONE = {"none": "as declared", "create": "created", "update": "changed in place"}


def provision_filters(task: Task, uri: str, lab: str, filters: list[list[object]]) -> Result:
    """Apply the filters, given as [name in the lab, name in libvirt, rules]; the result is a list of rows."""
    rows: list[Outcome] = []
    for name, full_name, rules in filters:
        began = time.monotonic()
        words = tuple(str(rule) for rule in rules) if isinstance(rules, (list, tuple)) else ()
        spec = FilterSpec(lab, str(name), str(full_name), words)
        try:
            plan = plan_filter(spec, observe_filters(connect(uri), lab).get(spec.name))
            if plan.action != "none":
                apply_filter(connect(uri), spec)
        except LabrunError as error:
            rows.append(failure_row(error, HYPERVISOR, "filter", spec.name, began))
            continue
        status = Status.OK if plan.action == "none" else Status.CHANGED
        seconds, done = time.monotonic() - began, _DONE[plan.action]
        rows.append(
            Outcome(
                HYPERVISOR, "filter", spec.name, status, "as in the file", done, None, plan.diff(), seconds
            )
        )
    return Result(host=task.host, result=rows, changed=any(row.status is Status.CHANGED for row in rows))


def remove_filters(task: Task, uri: str, lab: str, filters: list[str]) -> Result:
    """Remove filters of the lab by their names in the lab."""
    rows: list[Outcome] = []
    for name in filters:
        began = time.monotonic()
        try:
            remove_filter(connect(uri), lab, name)
        except LabrunError as error:
            rows.append(failure_row(error, HYPERVISOR, "filter", name, began))
            continue
        seconds = time.monotonic() - began
        rows.append(Outcome(HYPERVISOR, "filter", name, Status.CHANGED, "absent", "removed", seconds=seconds))
    return Result(host=task.host, result=rows, changed=bool(rows))
