"""`labrun up` and `plan` of a lab over several hypervisors: all of it is planned before any is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from labrun.inventory.topology.parts import spanned
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.commands.up import (
    ask,
    bring_up_machines,
    make_objects,
    moving_networks,
    obstructed,
    remove_extra,
    skipped_machines,
)
from labrun.runner.engine.session import Session
from labrun.runner.engine.span import Span
from labrun.runner.engine.span_plans import PartPlan, plan_several
from labrun.state_members import NotedMember, note_members, noted_members
from labrun.tasks.provision.obstacles import not_begun
from labrun.tasks.provision.planning import LabPlan, leftover_rows, plan_rows
from labrun.tasks.provision.remote_way import require_way
from labrun.tasks.provision.several_plans import joined, labelled
from labrun.tasks.provision.strays import stray_rows

if TYPE_CHECKING:
    from labrun.runner.commands.up import Wishes

__all__ = [
    "PartPlan",
    "bring_up_several",
    "carry_out_several",
    "plan_several",
    "planned_rows",
    "silent_rows",
    "whole_plan",
]


def whole_plan(plans: Sequence[PartPlan]) -> LabPlan:
    """Return the plans as one."""
    return joined([(each.member.label, each.plan) for each in plans])


def planned_rows(
    session: Session, span: Span, plans: Sequence[PartPlan], subset: Sequence[str] | None, *, prune: bool
) -> tuple[list[Outcome], bool]:
    """Return the rows of `plan`, and whether `up` would be refused."""
    rows, refused = [], False
    for each in plans:
        found = obstructed(each.member.part, each.member.uri, each.plan, prune=prune and subset is None)
        own = each.with_faults(found or plan_rows(each.plan))
        found += [row for row in own if row.section == "tunnel" and row.status is Status.FAILED]
        refused = refused or bool(found)
        if subset is None and not (found and prune):
            own += leftover_rows(each.plan, prune=prune)
        rows += labelled(own, each.member.label)
    faults = span.faults()
    chosen = set(session.hosts) if subset is not None else None
    faults = {key: why for key, why in faults.items() if chosen is None or key[0] in {HYPERVISOR, *chosen}}
    rows = [row for row in rows if (row.host, row.section, row.name) not in faults]
    for (host, section, name), why in faults.items():
        rows.append(Outcome(host, section, name, Status.FAILED, why=why, hypervisor_fault=True))
    return rows, refused or bool(faults)


def silent_rows(session: Session, span: Span) -> list[Outcome]:
    """Return a row for each hypervisor that does not answer, and one for each of its hosts."""
    rows = [
        Outcome(
            HYPERVISOR,
            "hypervisor",
            name,
            Status.FAILED,
            "answers",
            why=f"{error.reason} ({error.hint})" if error.hint else error.reason,
            hypervisor_fault=True,
        )
        for name, error in span.gone.items()
    ]
    lost = span.lost()
    return rows + [
        Outcome(host, "machine", host, Status.UNKNOWN, why=lost[host])
        for host in session.hosts
        if host in lost
    ]


def bring_up_several(
    session: Session, span: Span, subset: Sequence[str] | None, wishes: Wishes
) -> list[Outcome]:
    """Carry out what `plan` shows on every hypervisor, with the lab's lock held. Return the rows.

    If anything would be refused on one of them, nothing is begun on any.
    """
    from labrun.runner.commands.down import remove_objects

    plans = plan_several(session, subset, recreate=wishes.recreate)
    prune = wishes.prune and subset is None
    rows, refused = planned_rows(session, span, plans, subset, prune=prune)
    silent = silent_rows(session, span)
    if refused:
        return not_begun(rows) + silent
    if wishes.wait:
        for each in plans:
            require_way(session.lab, each.member.uri, [item.spec.host for item in each.plan.machines])
    ask(session, whole_plan(plans), wishes)
    session.state.check_room()
    before, spans = noted_members(session.state), bool(spanned(session.lab, span.placement))
    noted = {
        name: NotedMember(
            each.uri, span.placement.on(name), spans, copies=name in before and before[name].copies
        )
        for name, each in session.lab.hypervisors.items()
    }
    note_members(session.state, noted)
    done: list[Outcome] = []
    for each in plans:
        if prune:
            own = remove_extra(session, each.plan, each.member.uri) + stray_rows(each.plan.strays)
        else:
            own = leftover_rows(each.plan, prune=False) if subset is None else []
        done += labelled(own, each.member.label)
    for each in plans:
        own = remove_objects(each.member.uri, session.lab.name, "tunnel", each.plan.extra_tunnels)
        done += labelled(own, each.member.label)
    done += _made(session, plans, wait=wishes.wait, configures=wishes.configure)
    if subset is None and not any(row.exit_code for row in done):
        done += _old_filters(session, plans, prune=prune)
    unenforced = [row for each in plans for row in labelled(each.plan.unenforced, each.member.label)]
    return done + unenforced + silent


def carry_out_several(session: Session, plans: Sequence[PartPlan]) -> list[Outcome]:
    """Make what the plans say, and wait for it; nothing if any of it would be refused. Return the rows."""
    refused: list[Outcome] = []
    for each in plans:
        found = obstructed(each.member.part, each.member.uri, each.plan)
        refused += labelled(found, each.member.label)
    return not_begun(refused) if refused else _made(session, plans, wait=True, configures=False)


def _made(session: Session, plans: Sequence[PartPlan], *, wait: bool, configures: bool) -> list[Outcome]:
    """Make filters, networks and images of every hypervisor, then all machines at once. Return the rows."""
    rows: list[Outcome] = []
    moving: set[str] = set()
    begun = LabPlan()
    for each in plans:
        made = make_objects(each.member.uri, each.plan, each.plan.busy())
        rows += labelled(each.with_faults(made), each.member.label)
        if any(row.status is Status.FAILED for row in made):
            rows += skipped_machines(each.plan)
            continue
        moving |= moving_networks(each.plan, made)
        begun = replace(begun, machines=(*begun.machines, *each.plan.machines))
    if not begun.machines:
        return rows
    return rows + bring_up_machines(session, begun, moving, wait=wait, configures=configures)


def _old_filters(session: Session, plans: Sequence[PartPlan], *, prune: bool) -> list[Outcome]:
    """Remove the filters that no machine has any more: they had to stay until now. Return their rows."""
    from labrun.runner.commands.down import remove_objects

    rows: list[Outcome] = []
    for each in plans:
        gone = {**each.plan.replaced_filters, **(each.plan.extra_filters if prune else {})}
        own = remove_objects(each.member.uri, session.lab.name, "filter", gone)
        rows += labelled(own, each.member.label)
    return rows
