"""The plan that `plan` shows and `up` follows: libvirt's state of a lab, compared with the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from labrun.errors import HypervisorError
from labrun.hypervisor import connect
from labrun.inventory.model import Image, Lab
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision.domains import network_in
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.driver_registry import driver_for, driver_of, lab_drivers
from labrun.tasks.provision.filters import plan_filter
from labrun.tasks.provision.forwards import forward_specs, forward_warnings, observe_forwards, plan_forward
from labrun.tasks.provision.hypervisor_rules import observe_rules, replaced_filters, rule_specs, unenforced
from labrun.tasks.provision.lab_images import declared_image, is_current, would_be
from labrun.tasks.provision.machines import (
    from_next_start,
    plan_machine,
    waiting_for_start,
    wanted_settings,
)
from labrun.tasks.provision.networks import network_spec, observe_networks, plan_network
from labrun.tasks.provision.objects import Busy, ImageUse, Observed, Plan, Planned
from labrun.tasks.provision.rows import image_row, planned_row
from labrun.tasks.provision.specs import machine_spec
from labrun.tasks.provision.strays import Stray, renamed_machines, see_strays, stray_rows, why_absent
from labrun.tasks.state.item import Item

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
    machine: Observed


@dataclass(frozen=True, slots=True)
class PlannedMachine:
    """One host of the file: its spec (seed still empty), its driver, its plan, its current state.

    ``declared`` is the lab file's own image, None if it names one of the store.
    """

    spec: MachineSpec
    kind: str
    uri: str
    plan: Plan
    seen: SeenMachine | None
    declared: Image | None = None

    @property
    def image(self) -> ImageUse:
        """Return the image that the machine is made from."""
        return ImageUse(self.kind, self.uri, self.spec.image, self.declared)


def _nothing() -> Mapping[str, Observed]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LabPlan:
    """The whole difference; ``extra_*`` carries the lab's tag but is no longer in the file.

    ``strays`` are copies and renamed objects, which are only named. ``unenforced`` are rows of what this
    hypervisor cannot enforce. ``replaced_filters`` are libvirt's, of filters that are tables now. ``seen``
    has all machines of the lab by host, whichever the plan is for. ``extra_tunnels`` are of networks that no
    longer span: they go without being asked for.
    """

    networks: tuple[Planned, ...] = ()
    machines: tuple[PlannedMachine, ...] = ()
    filters: tuple[Planned, ...] = ()
    forwards: tuple[Planned, ...] = ()
    tunnels: tuple[Planned, ...] = ()
    extra_networks: Mapping[str, Observed] = field(default_factory=_nothing)
    extra_machines: tuple[SeenMachine, ...] = ()
    extra_filters: Mapping[str, Observed] = field(default_factory=_nothing)
    extra_forwards: Mapping[str, Observed] = field(default_factory=_nothing)
    extra_tunnels: Mapping[str, Observed] = field(default_factory=_nothing)
    replaced_filters: Mapping[str, Observed] = field(default_factory=_nothing)
    strays: tuple[Stray, ...] = ()
    seen: Mapping[str, SeenMachine] = field(default_factory=lambda: MappingProxyType({}))
    unenforced: tuple[Outcome, ...] = ()

    @property
    def renamed(self) -> dict[str, Stray]:
        """Return, by host, the machines that have another name now than their tag says."""
        return renamed_machines(self.strays)

    def absent(self) -> dict[str, str]:
        """Return why there is no machine of a host, by host."""
        renamed = self.renamed
        return {
            item.spec.host: why_absent(item.spec.host, renamed) for item in self.machines if item.seen is None
        }

    def busy(self) -> dict[str, Busy]:
        """Return, per network, the running machines of the lab that are on it."""
        chosen: dict[str, list[str]] = {}
        others: dict[str, list[str]] = {}
        of_run = {planned.spec.host for planned in self.machines}
        for host, seen in self.seen.items():
            if seen.machine.state not in ("running", "paused"):
                continue
            for word in seen.machine.have.get("nics", "").split():
                side = chosen if host in of_run else others
                side.setdefault(network_in(word), []).append(host)
        return {
            spec.name: Busy(tuple(chosen.get(spec.full_name, ())), tuple(others.get(spec.full_name, ())))
            for spec in (each.spec for each in self.networks)
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


def plan_lab(
    lab: Lab, uri: str, hosts: Sequence[str] | None, *, recreate: bool = False, part: Lab | None = None
) -> LabPlan:
    """Return what ``up`` has to do. ``hosts`` limits machines, and networks to theirs; None = all.

    ``part`` is the lab as this hypervisor has it, None if all of it is there. Raises HypervisorError.
    """
    here = lab if part is None else part
    # Of a network's members elsewhere, the home has the addresses.
    whole = replace(lab, networks=MappingProxyType({**lab.networks, **here.networks}))
    chosen = [host for host in here.hosts.values() if hosts is None or host.name in hosts]
    used = {nic.network for host in chosen for nic in host.interfaces}
    networks = observe_networks(connect(uri), lab.name)
    filters, rules = observe_rules(connect(uri), lab.name), rule_specs(here, uri)
    replaced = replaced_filters(rules, filters)
    forwards = observe_forwards(connect(uri), lab.name)
    seen = see_machines(lab.name, uri)
    machines = []
    for host in chosen:
        if host.machine is None:
            continue
        kind, driver_uri = driver_of(host, uri)
        spec = machine_spec(lab, host)
        there = seen.get(host.name)
        want = wanted_settings(kind, spec)
        plan = plan_machine(host.name, want, there.machine if there else None, recreate=recreate)
        declared = declared_image(lab, host.machine.image)
        machines.append(PlannedMachine(spec, kind, driver_uri, plan, there, declared))
    return LabPlan(
        networks=tuple(
            Planned(spec, plan_network(spec, networks.get(spec.name)), networks.get(spec.name))
            for network in here.networks.values()
            # libvirt has no network of a VLAN.
            if network.vlan is None and (hosts is None or network.name in used)
            for spec in [network_spec(whole, network, uri)]
        ),
        machines=tuple(machines),
        filters=tuple(
            Planned(spec, plan_filter(spec, filters.get(spec.name)), filters.get(spec.name)) for spec in rules
        ),
        forwards=tuple(
            Planned(spec, plan_forward(spec, forwards.get(spec.name)), forwards.get(spec.name))
            for spec in forward_specs(here, uri, forwards)
            if hosts is None or spec.name in used
        ),
        extra_networks={
            name: each
            for name, each in networks.items()
            if name not in here.networks or here.networks[name].vlan is not None
        },
        extra_forwards={name: each for name, each in forwards.items() if name not in here.networks},
        extra_machines=tuple(machine for host, machine in seen.items() if host not in lab.hosts),
        extra_filters={
            name: each
            for name, each in filters.items()
            if name not in {spec.name for spec in rules} and name not in replaced
        },
        replaced_filters=replaced,
        strays=see_strays(lab.name, uri),
        seen=seen,
        unenforced=(*unenforced(here, uri), *forward_warnings(here, uri)),
    )


def plan_rows(plan: LabPlan) -> list[Outcome]:
    """Return the rows of `plan`: one per filter, network, forward, image and machine."""
    rows = [planned_row(HYPERVISOR, "filter", each.plan) for each in plan.filters]
    gone = [Plan(Item(name), "remove") for name in plan.replaced_filters]
    rows += [planned_row(HYPERVISOR, "filter", each) for each in gone]
    rows += plan.unenforced
    rows += [planned_row(HYPERVISOR, "network", each.plan) for each in plan.networks]
    rows += [planned_row(HYPERVISOR, "forward", each.plan) for each in plan.forwards]
    rows += [planned_row(HYPERVISOR, "tunnel", each.plan) for each in plan.tunnels]
    rows += [planned_row(HYPERVISOR, "tunnel", Plan(Item(name), "remove")) for name in plan.extra_tunnels]
    made = {item.image for item in plan.machines if item.plan.action in ("create", "recreate")}
    for use in dict.fromkeys(item.image for item in plan.machines):
        try:
            ready = driver_for(use.driver, use.uri).image_ready(use.image)
        except HypervisorError:
            # Another pool has the name of labrun's; the image's users are told.
            ready = False
        # A machine that is there keeps the version that it was created from.
        if use.declared is not None and use in made and not is_current(use.declared, use.image):
            status, actual = Status.WOULD_CHANGE, would_be(use.declared)
        elif ready:
            status, actual = Status.OK, "there"
        elif use not in made:
            status, actual = Status.SKIPPED, "absent"
        else:
            status, actual = Status.WOULD_CHANGE, "would be uploaded"
        why = "its machines are there: none is made from it" if status is Status.SKIPPED else None
        rows.append(replace(image_row(use, status, actual), why=why))
    renamed = plan.renamed
    return rows + [_machine_row(item, renamed.get(item.spec.host)) for item in plan.machines]


def _machine_row(item: PlannedMachine, renamed: Stray | None) -> Outcome:
    row = planned_row(item.spec.host, "machine", item.plan)
    row = replace(row, why="; ".join(filter(None, [_stopped_by(item), _at_start(item), row.why])) or None)
    if renamed is None or item.plan.action != "create":
        return row
    # `up` would refuse, since a new machine would replace the files of this one.
    return replace(row, status=Status.FAILED, actual="absent", why=renamed.there, hypervisor_fault=True)


def _stopped_by(item: PlannedMachine) -> str | None:
    """Return the state of a machine that does not run with libvirt's reason, None if it has none."""
    machine = item.seen.machine if item.seen is not None else None
    return f"{machine.state}: {machine.reason}" if machine is not None and machine.reason else None


def _at_start(item: PlannedMachine) -> str | None:
    """Return which changes a running machine would take only when it starts next, None if there are none."""
    if item.plan.action != "update" or item.seen is None or item.seen.machine.state != "running":
        return None
    differences = item.plan.item.differences
    changes = {key: each for key, each in differences.items() if key not in item.plan.left}
    later = waiting_for_start(item.kind, changes)
    return from_next_start(later) if later and (item.plan.left or not item.plan.kept) else None


def leftover_rows(plan: LabPlan, *, prune: bool) -> list[Outcome]:
    """Return a row for each object no longer in the file: named and left, or with ``prune`` to be removed."""
    found = [("machine", seen.machine.host) for seen in plan.extra_machines]
    found += [("network", name) for name in plan.extra_networks]
    found += [("forward", name) for name in plan.extra_forwards]
    found += [("filter", name) for name in plan.extra_filters]
    strays = stray_rows(plan.strays)
    if prune:
        gone = [planned_row(HYPERVISOR, section, Plan(Item(name), "remove")) for section, name in found]
        return gone + strays
    why = "not in the file: left alone; `labrun up --prune` removes it"
    return [
        Outcome(HYPERVISOR, section, name, Status.SKIPPED, expected="absent", actual="there", why=why)
        for section, name in found
    ] + strays
