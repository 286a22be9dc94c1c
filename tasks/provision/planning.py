"""The plan that `plan` shows and `up` follows: libvirt's state of a lab, compared with the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labrun.errors import HypervisorError
from labrun.hypervisor import connect
from labrun.inventory.model import Lab
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision.driver import MachineSpec, ObservedMachine
from labrun.tasks.provision.driver_registry import driver_for, driver_of, lab_drivers
from labrun.tasks.provision.filters import (
    FilterPlan,
    FilterSpec,
    filter_spec,
    observe_filters,
    plan_filter,
)
from labrun.tasks.provision.machine_plan import MachinePlan, plan_machine
from labrun.tasks.provision.network_state import (
    NetworkPlan,
    NetworkSpec,
    ObservedNetwork,
    network_spec,
    plan_network,
)
from labrun.tasks.provision.networks import observe_networks
from labrun.tasks.provision.specs import machine_spec

__all__ = [
    "LabPlan",
    "PlannedMachine",
    "SeenMachine",
    "leftover_rows",
    "plan_lab",
    "plan_rows",
    "see_machines",
]


@dataclass(frozen=True, slots=True)
class SeenMachine:
    """A machine with the lab's tag, and the driver and URI that it was found under."""

    kind: str
    uri: str
    machine: ObservedMachine


@dataclass(frozen=True, slots=True)
class PlannedMachine:
    """One host of the file: its spec (seed still empty), its driver, its current state, its plan."""

    spec: MachineSpec
    kind: str
    uri: str
    plan: MachinePlan
    seen: SeenMachine | None


@dataclass(frozen=True, slots=True)
class LabPlan:
    """The whole difference; ``extra_*`` carries the lab's tag but is no longer in the file."""

    networks: tuple[tuple[NetworkSpec, NetworkPlan], ...]
    machines: tuple[PlannedMachine, ...]
    extra_networks: tuple[tuple[str, ObservedNetwork], ...]
    extra_machines: tuple[SeenMachine, ...]
    filters: tuple[tuple[FilterSpec, FilterPlan], ...] = ()
    extra_filters: tuple[str, ...] = ()

    def busy(self) -> dict[str, str]:
        """Return, per network, the running machines on it as text."""
        found: dict[str, list[str]] = {}
        for planned in self.machines:
            if planned.seen is not None and planned.seen.machine.state == "running":
                for nic in planned.spec.nics:
                    found.setdefault(nic.source, []).append(planned.spec.host)
        return {
            spec.name: ", ".join(found[spec.full_name])
            for spec, _ in self.networks
            if spec.full_name in found
        }


def see_machines(lab: str, uri: str) -> dict[str, SeenMachine]:
    """Return every machine of the lab by host name, under any driver of the hypervisor."""
    found: dict[str, SeenMachine] = {}
    for kind, driver_uri in lab_drivers(uri):
        try:
            machines = driver_for(kind, driver_uri).observe(lab)
        except HypervisorError:
            if driver_uri == uri:
                raise
            # The hypervisor lacks this driver, so it has no such machines.
            continue
        for host, machine in machines.items():
            found.setdefault(host, SeenMachine(kind, driver_uri, machine))
    return found


def plan_lab(lab: Lab, uri: str, hosts: Sequence[str] | None, *, recreate: bool = False) -> LabPlan:
    """Return what ``up`` has to do. ``hosts`` limits machines, and networks to theirs; None = all.

    Raises HypervisorError.
    """
    chosen = [host for host in lab.hosts.values() if hosts is None or host.name in hosts]
    used = {nic.network for host in chosen for nic in host.interfaces}
    observed = observe_networks(connect(uri), lab.name)
    networks = []
    for network in lab.networks.values():
        if hosts is None or network.name in used:
            made = network_spec(lab, network, uri)
            networks.append((made, plan_network(network.name, made.settings, observed.get(network.name))))
    seen = see_machines(lab.name, uri)
    machines = []
    for host in chosen:
        if host.machine is None:
            continue
        kind, driver_uri = driver_of(host, uri)
        spec = machine_spec(lab, host)
        there = seen.get(host.name)
        wanted = driver_for(kind, driver_uri).desired(spec)
        plan = plan_machine(host.name, wanted, there.machine if there else None, recreate=recreate)
        machines.append(PlannedMachine(spec, kind, driver_uri, plan, there))
    here = observe_filters(connect(uri), lab.name)
    specs = [filter_spec(lab, each) for each in lab.filters.values()]
    return LabPlan(
        filters=tuple((each, plan_filter(each, here.get(each.name))) for each in specs),
        extra_filters=tuple(name for name in here if name not in lab.filters),
        networks=tuple(networks),
        machines=tuple(machines),
        extra_networks=tuple((name, net) for name, net in observed.items() if name not in lab.networks),
        extra_machines=tuple(machine for host, machine in seen.items() if host not in lab.hosts),
    )


_WOULD: Mapping[str, str] = {
    "create": "would be created",
    "update": "would be changed in place",
    "restart": "would be started anew",
    "start": "would be started",
    "recreate": "would be made anew",
    "remove": "would be removed",
}


def _row(host: str, section: str, name: str, action: str, diff: str | None) -> Outcome:
    if action == "none":
        return Outcome(host, section, name, Status.OK, "as in the file", "as declared")
    return Outcome(
        host, section, name, Status.WOULD_CHANGE, expected="as in the file", actual=_WOULD[action], diff=diff
    )


def plan_rows(plan: LabPlan) -> list[Outcome]:
    """Return the rows of `plan`: one per filter, network, image and machine."""
    rows = [_row(HYPERVISOR, "filter", spec.name, todo.action, todo.diff()) for spec, todo in plan.filters]
    rows += [
        _row(HYPERVISOR, "network", spec.name, found.action, found.diff()) for spec, found in plan.networks
    ]
    images = dict.fromkeys((item.kind, item.uri, item.spec.image) for item in plan.machines)
    for kind, uri, image in images:
        ready = driver_for(kind, uri).image_ready(image)
        status = Status.OK if ready else Status.WOULD_CHANGE
        actual = f"{kind}: {'there' if ready else 'would be brought there'}"
        rows.append(Outcome(HYPERVISOR, "image", image, status, expected="there", actual=actual))
    for item in plan.machines:
        row = _row(item.spec.host, "machine", item.spec.host, item.plan.action, item.plan.diff())
        rows.append(row)
    return rows


def leftover_rows(plan: LabPlan, *, prune: bool) -> list[Outcome]:
    """Return a row for each object no longer in the file: named and left, or with ``prune`` to be removed."""
    found = [(HYPERVISOR, "machine", seen.machine.host) for seen in plan.extra_machines]
    found += [(HYPERVISOR, "network", name) for name, _ in plan.extra_networks]
    found += [(HYPERVISOR, "filter", name) for name in plan.extra_filters]
    if prune:
        return [_row(host, section, name, "remove", None) for host, section, name in found]
    why = "not in the file: left alone; `labrun up --prune` removes it"
    return [
        Outcome(host, section, name, Status.SKIPPED, expected="absent", actual="there", why=why)
        for host, section, name in found
    ]
