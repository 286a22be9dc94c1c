"""The Nornir tasks that run on the hypervisor itself: filters, networks and images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from nornir.core.task import Result, Task

from labrun.errors import LabrunError
from labrun.hypervisor import connect
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.progress import report
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.filters import plan_filter
from labrun.tasks.provision.forwards import (
    apply_forward,
    observe_forwards,
    plan_forward,
    remove_forward,
)
from labrun.tasks.provision.hypervisor_rules import apply_rules, observe_rules, remove_rules
from labrun.tasks.provision.lab_images import bring_declared
from labrun.tasks.provision.networks import apply_network, observe_networks, plan_network, remove_network
from labrun.tasks.provision.objects import Busy, ImageUse, Observed, Plan, Spec
from labrun.tasks.provision.plugged import cuts_off, foreign_guests
from labrun.tasks.provision.rows import done_row, failure_row, image_row, kept_row, removed_row
from labrun.tasks.provision.tunnels import apply_tunnel, observe_tunnels, plan_tunnel, remove_tunnel

__all__ = ["prepare_images", "provision_objects", "remove_objects"]

_T = TypeVar("_T")


class _Operations(NamedTuple):
    observe: Callable[[Any, str], Mapping[str, Observed]]
    plan: Callable[[Spec, Observed | None], Plan]
    apply: Callable[[Any, Spec, Plan], None]
    remove: Callable[[Any, str, str], bool]


_OPERATIONS: Mapping[str, _Operations] = MappingProxyType(
    {
        "filter": _Operations(observe_rules, plan_filter, apply_rules, remove_rules),
        "forward": _Operations(observe_forwards, plan_forward, apply_forward, remove_forward),
        "tunnel": _Operations(observe_tunnels, plan_tunnel, apply_tunnel, remove_tunnel),
        "network": _Operations(observe_networks, plan_network, apply_network, remove_network),
    }
)


def _each(
    task: Task, section: str, things: Iterable[tuple[str, _T]], work: Callable[[_T, float], Outcome]
) -> Result:
    """Return a row for each thing, given with its name; ``work`` also gets the time when its turn began."""
    rows = []
    for name, thing in things:
        began = time.monotonic()
        try:
            rows.append(work(thing, began))
        except LabrunError as error:
            rows.append(failure_row(error, HYPERVISOR, section, name, began))
    return Result(host=task.host, result=rows, changed=any(row.status is Status.CHANGED for row in rows))


def provision_objects(
    task: Task, section: str, uri: str, specs: Sequence[Spec], busy: Mapping[str, Busy]
) -> Result:
    """Make filters or networks (``section``) what their specs say; the result is a list of Outcomes.

    ``busy`` has, per network, the lab's running machines on it.
    """
    kind = _OPERATIONS[section]
    seen = kind.observe(connect(uri), specs[0].lab) if specs else {}

    def provision(spec: Spec, began: float) -> Outcome:
        plan = kind.plan(spec, seen.get(spec.name))
        if section == "network" and (why := cuts_off(uri, spec, plan, busy.get(spec.name, Busy()))):
            return kept_row(HYPERVISOR, section, plan, why)
        kind.apply(connect(uri), spec, plan)
        return done_row(HYPERVISOR, section, plan, began)

    return _each(task, section, [(spec.name, spec) for spec in specs], provision)


def prepare_images(task: Task, uses: Sequence[ImageUse]) -> Result:
    """Bring images here as the lab file declares them, and to the hypervisors that need them."""

    def prepare(use: ImageUse, began: float) -> Outcome:
        report(HYPERVISOR, "image", use.image)
        done = [bring_declared(use.declared, use.image)] if use.declared is not None else []
        done.append("uploaded" if driver_for(use.driver, use.uri).prepare_image(use.image) else "")
        status = Status.CHANGED if any(done) else Status.OK
        return image_row(use, status, ", ".join(filter(None, done)) or "there", time.monotonic() - began)

    return _each(task, "image", [(use.image, use) for use in uses], prepare)


def remove_objects(task: Task, section: str, uri: str, lab: str, full_names: Mapping[str, str]) -> Result:
    """Remove filters or networks (``section``) of the lab; ``full_names`` has their libvirt names by name."""

    def remove(name: str, began: float) -> Outcome:
        if section == "network" and (foreign := foreign_guests(uri, lab, full_names[name])):
            raise LabrunError(
                f"{', '.join(foreign)}, not this lab's, would be cut off",
                hint="stop or unplug what no longer needs it, then repeat this command",
            )
        _OPERATIONS[section].remove(connect(uri), lab, full_names[name])
        return removed_row(HYPERVISOR, section, name, began)

    return _each(task, section, [(name, name) for name in full_names], remove)
