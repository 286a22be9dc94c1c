"""What is to be done on each hypervisor of a lab, with the ends of tunnels there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

from labrun.errors import HypervisorError
from labrun.hypervisor import connect
from labrun.inventory.topology.tunnels import tunnels_of
from labrun.outcome import Outcome, Status
from labrun.runner.engine.session import Session
from labrun.runner.engine.span import Member, Span
from labrun.runner.engine.span_paths import faults_on
from labrun.tasks.provision.objects import Observed, Planned
from labrun.tasks.provision.planning import LabPlan, plan_lab
from labrun.tasks.provision.tunnels import observe_tunnels, plan_tunnel, tunnel_spec

__all__ = ["PartPlan", "plan_several"]


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What is to be done on one hypervisor of the lab; ``faults`` are those of tunnels, by network."""

    member: Member
    plan: LabPlan
    faults: Mapping[str, str]

    def with_faults(self, rows: Sequence[Outcome]) -> list[Outcome]:
        """Return rows in which an end of a tunnel that cannot be made is failed, one without a way silent."""
        there = {each.spec.name for each in self.plan.tunnels if each.plan.action == "none"}
        found = []
        for row in rows:
            why = self.faults.get(row.name) if row.section == "tunnel" else None
            if why and row.name in there:
                row = replace(row, status=Status.UNREACHABLE, why=why)
            elif why:
                row = replace(
                    row, status=Status.FAILED, actual=None, why=why, diff=None, hypervisor_fault=True
                )
            found.append(row)
        return found


def plan_several(session: Session, subset: Sequence[str] | None, *, recreate: bool = False) -> list[PartPlan]:
    """Return the plan of each hypervisor that answers. Raises HypervisorError."""
    if session.span is None:
        return []
    plans = []
    for member in session.members():
        plan = plan_lab(session.lab, member.uri, subset, recreate=recreate, part=member.part)
        plans.append(
            PartPlan(
                member,
                _with_tunnels(session, session.span, member, plan),
                faults_on(session.span, member.name),
            )
        )
    return plans


def _with_tunnels(session: Session, span: Span, member: Member, plan: LabPlan) -> LabPlan:
    """Return the plan with the ends of tunnels of its networks."""
    wanted = [tunnel_spec(session.lab, each) for each in tunnels_of(span.lab, span.placement, member.name)]
    seen: Mapping[str, Observed] = {}
    # Without a shell there, none can be read; what is to be made is refused for that reason.
    with nullcontext() if wanted and member.name not in span.silent else suppress(HypervisorError):
        seen = observe_tunnels(connect(member.uri), session.lab.name)
    chosen = {each.spec.name for each in plan.networks}
    return replace(
        plan,
        tunnels=tuple(
            Planned(spec, plan_tunnel(spec, seen.get(spec.name)), seen.get(spec.name))
            for spec in wanted
            if spec.name in chosen
        ),
        extra_tunnels={
            name: each for name, each in seen.items() if name not in {spec.name for spec in wanted}
        },
    )
