"""The plans of a lab's several hypervisors as one, for what looks at the lab as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from labrun.outcome import HYPERVISOR, Outcome
from labrun.tasks.provision.objects import Planned
from labrun.tasks.provision.planning import LabPlan

__all__ = ["joined", "labelled"]

_T = TypeVar("_T")
_Label = Callable[[str], str]


def labelled(rows: Sequence[Outcome], label: _Label) -> list[Outcome]:
    """Return rows whose names say on which hypervisor the thing is; those of hosts stay as they are."""
    return [replace(row, name=label(row.name)) if row.host == HYPERVISOR else row for row in rows]


def joined(plans: Sequence[tuple[_Label, LabPlan]]) -> LabPlan:
    """Return one plan; the names of networks, filters and forwards say on which hypervisor they are."""
    return LabPlan(
        networks=tuple(_named(each, label) for label, plan in plans for each in plan.networks),
        machines=tuple(item for _, plan in plans for item in plan.machines),
        filters=tuple(_named(each, label) for label, plan in plans for each in plan.filters),
        forwards=tuple(_named(each, label) for label, plan in plans for each in plan.forwards),
        tunnels=tuple(_named(each, label) for label, plan in plans for each in plan.tunnels),
        extra_tunnels=_keyed([(label, plan.extra_tunnels) for label, plan in plans]),
        extra_networks=_keyed([(label, plan.extra_networks) for label, plan in plans]),
        extra_forwards=_keyed([(label, plan.extra_forwards) for label, plan in plans]),
        extra_machines=tuple(seen for _, plan in plans for seen in plan.extra_machines),
        extra_filters=_keyed([(label, plan.extra_filters) for label, plan in plans]),
        replaced_filters=_keyed([(label, plan.replaced_filters) for label, plan in plans]),
        strays=tuple(stray for _, plan in plans for stray in plan.strays),
        seen=MappingProxyType({host: seen for _, plan in plans for host, seen in plan.seen.items()}),
        unenforced=tuple(row for label, plan in plans for row in labelled(plan.unenforced, label)),
    )


def _named(each: Planned, label: _Label) -> Planned:
    name = label(each.spec.name)
    plan = replace(each.plan, item=replace(each.plan.item, name=name))
    return replace(each, spec=replace(each.spec, name=name), plan=plan)


def _keyed(found: Sequence[tuple[_Label, Mapping[str, _T]]]) -> Mapping[str, _T]:
    return MappingProxyType({label(name): each for label, of in found for name, each in of.items()})
