"""`labrun plan`: what `up` would do, without doing it."""

from __future__ import annotations

from dataclasses import replace

import click

from labrun.outcome import Outcome, exit_code
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.engine.session import Session, open_session
from labrun.runner.engine.unmanaged import existing_rows
from labrun.runner.verb import verb
from labrun.tasks.provision.obstacles import find_obstacles, with_obstacles
from labrun.tasks.provision.planning import LabPlan, leftover_rows, plan_lab, plan_rows

_TO_DO = 3


@verb("plan", recorded=True)
@click.option("--prune", is_flag=True, help="Include what --prune would remove.")
@click.option("--explain", is_flag=True, help="Print the commands to do the same by hand, and do nothing.")
def command(invocation: Invocation, prune: bool, explain: bool) -> Report:
    """Show what `up` would create, change in place, recreate or remove.

    Exit code 3 if there is anything to do, 5 if `up` would be refused. Nothing is changed.
    """
    session = open_session(invocation).measured()
    if explain:
        from labrun.runner.views.explain import explain_up

        return Report(session.lab.name, text=explain_up(session))
    existing = existing_rows(session.lab, session.hosts)
    if not session.uri:
        return Report(session.lab.name, existing, extra={"hypervisor": None}, notes=(session.place,))
    subset = session.hosts if invocation.hosts is not None else None
    if session.span is not None:
        from labrun.runner.commands.span_up import planned_rows, silent_rows, whole_plan
        from labrun.runner.engine.span_plans import plan_several

        plans = plan_several(session, subset)
        rows, _ = planned_rows(session, session.span, plans, subset, prune=prune)
        rows += silent_rows(session, session.span) + existing
        return _report(session, whole_plan(plans), rows)
    plan = plan_lab(session.lab, session.uri, subset)
    rows = plan_rows(plan)
    if subset is None:
        rows += leftover_rows(plan, prune=prune)
    obstacles = find_obstacles(session.lab, session.uri, plan, prune=prune and subset is None)
    return _report(session, plan, with_obstacles(session.uri, plan, rows, obstacles) + existing)


def _report(session: Session, plan: LabPlan, rows: list[Outcome]) -> Report:
    invocation = session.invocation
    if not invocation.json and invocation.verbosity < 1:
        # The file shows what is new, but not what changes.
        new = {item.spec.host for item in plan.machines if item.plan.action == "create"}
        new |= {planned.spec.name for planned in plan.networks if planned.plan.action == "create"}
        rows = [replace(row, diff=None) if row.name in new else row for row in rows]
    extra = session.place_json()
    follows = "labrun up" if exit_code(rows) == _TO_DO else ""
    first = session.place
    if session.span is not None and invocation.verbosity < 1:
        first = "\n".join(session.span.short_notes())
    scene = session.scene(changes=True, next=follows, first=first)
    whole = invocation.verbosity > 0
    return Report(session.lab.name, rows, extra=extra, diff=whole, scene=scene)
