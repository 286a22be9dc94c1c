"""Wait until machines that exist and run are ready, without changing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from labrun.outcome import Outcome
from labrun.runner.engine.machine_jobs import MARGIN, machine_jobs
from labrun.runner.engine.session import Session

__all__ = ["ready_rows"]


def ready_rows(session: Session, hosts: Sequence[str], *, configures: bool = False) -> list[Outcome]:
    """Wait until ``hosts``, which have been started, are ready. Return their rows, section ``ready``.

    ``configures`` = the hosts are configured next.
    """
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.provision.bring_up import await_machine
    from labrun.tasks.provision.objects import Plan
    from labrun.tasks.provision.planning import plan_lab

    if not hosts:
        return []
    # Whatever the file says by now: they are waited for, not changed.
    machines = [
        replace(item, kind=item.seen.kind, uri=item.seen.uri, plan=Plan(item.plan.item, "none", start=True))
        for member in session.members()
        for item in plan_lab(session.lab, member.uri, hosts, part=member.part).machines
        if item.seen is not None
    ]
    located = session.locate()
    jobs = machine_jobs(session, machines, wait=True, configures=configures)
    data = {name: {"up": replace(job, through=located[name].hops)} for name, job in jobs.items()}
    deadline = max((job.timeout for job in jobs.values()), default=0.0) + MARGIN
    budget = replace(session.budget(deadline, until="become ready"), deadline=deadline)
    with session.engine(located, budget, data, hosts=list(jobs)) as nornir:
        return outcomes_of(nornir.run(await_machine), "ready")
