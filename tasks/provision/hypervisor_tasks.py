"""The Nornir tasks that run on the hypervisor itself: networks and images."""

from __future__ import annotations

import time
from typing import Any

from nornir.core.task import Result, Task

from labrun.errors import LabrunError
from labrun.hypervisor import connect
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.progress import report
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.failure import failure_row
from labrun.tasks.provision.network_state import NetworkPlan, NetworkSpec, plan_network
from labrun.tasks.provision.networks import apply_network, observe_networks, remove_network

__all__ = ["prepare_images", "provision_networks", "remove_networks"]


def provision_networks(task: Task, uri: str, networks: list[dict[str, Any]], busy: dict[str, str]) -> Result:
    """Apply the networks' specs (NetworkSpec.as_json); the result is a list of Outcomes.

    ``busy`` names, per network, the running machines that a restart of the network would cut off.
    """
    connection = connect(uri)
    rows: list[Outcome] = []
    for plain in networks:
        spec = NetworkSpec.from_json(plain)
        began = time.monotonic()
        try:
            observed = observe_networks(connection, spec.lab).get(spec.name)
            plan = plan_network(spec.name, spec.settings, observed)
            if plan.action == "restart" and busy.get(spec.name):
                rows.append(_needs_stop(plan, busy[spec.name]))
                continue
            apply_network(connection, spec, plan)
        except LabrunError as error:
            rows.append(failure_row(error, HYPERVISOR, "network", spec.name, began))
            continue
        rows.append(_network_row(plan, time.monotonic() - began))
    return Result(host=task.host, result=rows, changed=any(row.status is Status.CHANGED for row in rows))


def _needs_stop(plan: NetworkPlan, machines: str) -> Outcome:
    return Outcome(
        HYPERVISOR,
        "network",
        plan.name,
        Status.PENDING,
        expected="as in the file",
        actual="as before",
        why=f"it has to be started anew, which would cut off {machines}: `labrun stop`, then `labrun up`",
        diff=plan.diff(),
    )


def _network_row(plan: NetworkPlan, seconds: float) -> Outcome:
    done = {
        "none": "as declared",
        "create": "created",
        "update": "changed in place",
        "restart": "started anew",
    }
    status = Status.OK if plan.action == "none" else Status.CHANGED
    return Outcome(
        HYPERVISOR,
        "network",
        plan.name,
        status,
        expected="as in the file",
        actual=done[plan.action],
        diff=plan.diff(),
        seconds=seconds,
    )


def prepare_images(task: Task, uses: list[list[str]]) -> Result:
    """Bring images to the hypervisors that need them: ``uses`` are [driver, uri, image] triples."""
    rows: list[Outcome] = []
    for kind, uri, image in uses:
        began = time.monotonic()
        report(HYPERVISOR, "image", image)
        try:
            changed = driver_for(kind, uri).prepare_image(image)
        except LabrunError as error:
            rows.append(failure_row(error, HYPERVISOR, "image", image, began))
            continue
        status = Status.CHANGED if changed else Status.OK
        actual = f"{kind}: {'uploaded' if changed else 'there'}"
        rows.append(
            Outcome(
                HYPERVISOR,
                "image",
                image,
                status,
                expected="there",
                actual=actual,
                seconds=time.monotonic() - began,
            )
        )
    return Result(host=task.host, result=rows, changed=any(row.status is Status.CHANGED for row in rows))


def remove_networks(task: Task, uri: str, lab: str, networks: list[list[str]]) -> Result:
    """Remove networks: ``networks`` are [name in the lab, name in libvirt]."""
    rows: list[Outcome] = []
    for name, full_name in networks:
        began = time.monotonic()
        try:
            remove_network(connect(uri), lab, full_name)
        except LabrunError as error:
            rows.append(failure_row(error, HYPERVISOR, "network", name, began))
            continue
        seconds = time.monotonic() - began
        rows.append(
            Outcome(HYPERVISOR, "network", name, Status.CHANGED, "absent", "removed", seconds=seconds)
        )
    return Result(host=task.host, result=rows, changed=bool(rows))
