"""`labrun up`: create networks and machines as the file declares, and wait until each host is ready."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from labrun.errors import UsageError
from labrun.outcome import HYPERVISOR, Outcome, Status, exit_code
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.engine.hypervisor_engine import hypervisor_engine
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.machine_jobs import MARGIN, machine_jobs
from labrun.runner.engine.session import Session, open_session
from labrun.runner.engine.unmanaged import existing_rows
from labrun.runner.verb import verb
from labrun.tasks.provision.planning import LabPlan, PlannedMachine, leftover_rows, plan_lab, plan_rows
from labrun.tasks.provision.remote_way import require_way
from labrun.tasks.provision.strays import stray_rows

if TYPE_CHECKING:
    from labrun.inventory.model import Lab
    from labrun.tasks.provision.objects import Busy


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `up` was asked for beside the plan; ``configure`` = the hosts are configured next."""

    wait: bool
    prune: bool
    recreate: bool
    configure: bool


@verb("up", recorded=True)
@click.option("--configure", "configure_too", is_flag=True, help="Configure the hosts that are ready.")
@click.option("--verify", "verify_too", is_flag=True, help="Configure the hosts and then verify the lab.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the machines are ready.")
@click.option("--prune", is_flag=True, help="Remove what is no longer in the file.")
@click.option("--recreate", is_flag=True, help="Recreate the machines of --hosts, keeping their addresses.")
@click.option("--explain", is_flag=True, help="Print the commands to do the same by hand, and do nothing.")
def command(
    invocation: Invocation,
    configure_too: bool,
    verify_too: bool,
    no_wait: bool,
    prune: bool,
    recreate: bool,
    explain: bool,
) -> Report:
    """Create the lab file's networks and machines, and wait until they answer.

    What is already as declared is left alone; a second run changes nothing. What the file no
    longer has is named and left, unless --prune is given.
    """
    if recreate and invocation.hosts is None:
        raise UsageError("--recreate needs --hosts", hint="labrun up --recreate --hosts host01")
    if verify_too and no_wait:
        raise UsageError("--verify and --no-wait cannot be combined", hint="leave one of them out")
    configure_too = configure_too or verify_too
    session = open_session(invocation).measured()
    if explain:
        from labrun.runner.views.explain import explain_up

        return Report(session.lab.name, text=explain_up(session))
    any_configured = False
    with lab_lock(session.state.lock, "up"):
        with progress(session.hosts, invocation):
            wishes = Wishes(wait=not no_wait, prune=prune, recreate=recreate, configure=configure_too)
            rows = bring_up(session, wishes)
        if configure_too:
            from labrun.runner.commands.in_turn import configured_in_turn

            rows, any_configured = configured_in_turn(session, rows)
    if any_configured and verify_too:
        from labrun.runner.commands.verify.command import verify_rows

        rows += verify_rows(session)
    follows = (
        "" if exit_code(rows) or verify_too else "labrun verify" if configure_too else "labrun configure"
    )
    scene = session.scene(changes=True, next=follows)
    return Report(session.lab.name, rows, extra=session.place_json(), scene=scene)


def bring_up(session: Session, wishes: Wishes) -> list[Outcome]:
    """Carry out what `plan` shows, with the lab's lock held. Return the rows."""
    existing = existing_rows(session.lab, session.hosts)
    if not session.uri:
        return existing
    subset = session.hosts if session.invocation.hosts is not None else None
    if session.span is not None:
        from labrun.runner.commands.span_up import bring_up_several

        return bring_up_several(session, session.span, subset, wishes) + existing
    plan = plan_lab(session.lab, session.uri, subset, recreate=wishes.recreate)
    if refused := refusal(session, plan, prune=wishes.prune and subset is None):
        return refused + existing
    if wishes.wait:
        require_way(session.lab, session.uri, [item.spec.host for item in plan.machines])
    ask(session, plan, wishes)
    session.state.check_room()
    rows: list[Outcome] = [] if wishes.prune or subset is not None else leftover_rows(plan, prune=False)
    if wishes.prune and subset is None:
        rows += remove_extra(session, plan) + stray_rows(plan.strays)
    rows += carry_out(session, plan, plan.busy(), wait=wishes.wait, configures=wishes.configure)
    if plan.replaced_filters and subset is None and not any(row.exit_code for row in rows):
        from labrun.runner.commands.down import remove_objects

        rows += remove_objects(session.uri, session.lab.name, "filter", plan.replaced_filters)
    if wishes.prune and subset is None and not any(row.status is Status.FAILED for row in rows):
        # Filters go last: machines may have used them until now.
        from labrun.runner.commands.down import remove_objects

        rows += remove_objects(session.uri, session.lab.name, "filter", plan.extra_filters)
    return rows + list(plan.unenforced) + existing


def refusal(session: Session, plan: LabPlan, *, prune: bool = False) -> list[Outcome]:
    """Return the rows of a plan that cannot be carried out: nothing is created then. Empty if it can."""
    from labrun.tasks.provision.obstacles import not_begun

    rows = obstructed(session.lab, session.uri, plan, prune=prune)
    return not_begun(rows) if rows else []


def obstructed(lab: Lab, uri: str, plan: LabPlan, *, prune: bool = False) -> list[Outcome]:
    """Return the rows of a plan with what would be refused of it; none if nothing would."""
    from labrun.tasks.provision.obstacles import find_obstacles, with_obstacles

    found = find_obstacles(lab, uri, plan, prune=prune)
    if not found:
        return []
    rows = plan_rows(plan) + (leftover_rows(plan, prune=True) if prune else [])
    return with_obstacles(uri, plan, rows, found)


def carry_out(
    session: Session,
    plan: LabPlan,
    busy: Mapping[str, Busy],
    *,
    wait: bool = True,
    configures: bool = False,
) -> list[Outcome]:
    """Create the plan's filters, networks, images and machines, with the lab's lock held. Return their rows.

    ``busy`` has, per network, the running machines of the lab that are on it; ``configures`` = the hosts
    are configured next.
    """
    rows = make_objects(session.uri, plan, busy)
    if any(row.status is Status.FAILED for row in rows):
        return rows + skipped_machines(plan)
    moving = moving_networks(plan, rows)
    return rows + bring_up_machines(session, plan, moving, wait=wait, configures=configures)


def make_objects(uri: str, plan: LabPlan, busy: Mapping[str, Busy]) -> list[Outcome]:
    """Create the plan's filters, networks, forwards and images on their hypervisor. Return their rows."""
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.provision.hypervisor_tasks import prepare_images, provision_objects

    rows: list[Outcome] = []
    with hypervisor_engine(uri) as hypervisor:
        for section, planned in (
            ("filter", plan.filters),
            ("network", plan.networks),
            ("forward", plan.forwards),
            ("tunnel", plan.tunnels),
        ):
            specs = [each.spec for each in planned]
            result = hypervisor.run(provision_objects, section=section, uri=uri, specs=specs, busy=busy)
            rows += outcomes_of(result, section, *(spec.name for spec in specs))
        # Images are copied to the hypervisor only for machines that are created in this run.
        made = [item for item in plan.machines if item.plan.action in ("create", "recreate")]
        uses = list(dict.fromkeys(item.image for item in made))
        result = hypervisor.run(prepare_images, uses=uses)
        rows += outcomes_of(result, "image", *(use.image for use in uses))
    return rows


def moving_networks(plan: LabPlan, rows: Sequence[Outcome]) -> set[str]:
    """Return the networks that were left as they are although they are to have another subnet."""
    kept = {row.name for row in rows if row.section == "network" and row.status is Status.PENDING}
    return {
        each.spec.name
        for each in plan.networks
        if each.spec.name in kept and each.plan.item.differences.keys() & {"ipv4", "ipv6"}
    }


def skipped_machines(plan: LabPlan) -> list[Outcome]:
    """Return the rows of machines that were not begun, since what they need is not there."""
    return [_not_begun(item.spec.host) for item in plan.machines]


def ask(session: Session, plan: LabPlan, wishes: Wishes) -> None:
    """Confirm what would be lost by the plan."""
    lost = [item.spec.host for item in plan.machines if _is_lost(item)]
    if lost:
        disks = "its disk is lost" if len(lost) == 1 else "their disks are lost"
        confirm(session.invocation, f"Recreate {', '.join(lost)}? {disks}.")
    losses = []
    if wishes.prune:
        losses += [f"machine {seen.machine.host} (its disk with it)" for seen in plan.extra_machines]
        losses += [f"network {name}" for name in plan.extra_networks]
        losses += [f"forward {name}" for name in plan.extra_forwards]
        losses += [f"filter {name}" for name in plan.extra_filters]
    if losses:
        confirm(session.invocation, "Remove these?", losses)


def _is_lost(item: PlannedMachine) -> bool:
    return item.plan.action == "recreate" and item.seen is not None


def _not_begun(host: str) -> Outcome:
    why = "filters, networks or images are missing"
    return Outcome(host, "machine", host, Status.SKIPPED, expected="running", why=why)


def remove_extra(session: Session, plan: LabPlan, uri: str = "") -> list[Outcome]:
    """Remove machines and networks that are no longer in the file, by default of the lab's hypervisor.

    Return their rows.
    """
    from labrun.runner.commands.down import remove_machines, remove_objects
    from labrun.tasks.provision.file_users import file_users

    uri = uri or session.uri
    keep = file_users(session.lab.name, uri) if plan.extra_machines else {}
    rows = remove_machines(uri, session.lab.name, plan.extra_machines, keep)
    rows += remove_objects(uri, session.lab.name, "forward", plan.extra_forwards)
    rows += remove_objects(uri, session.lab.name, "network", plan.extra_networks)
    session.state.forget_hosts([seen.machine.host for seen in plan.extra_machines])
    # These hosts are no longer part of the lab.
    return [replace(row, host=HYPERVISOR) for row in rows]


def bring_up_machines(
    session: Session, plan: LabPlan, moving: Collection[str], *, wait: bool, configures: bool
) -> list[Outcome]:
    """Bring the plan's machines up; the subnets of networks that are ``moving`` have to wait."""
    from labrun.hypervisor import connect
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.provision.at_once import machines_at_once
    from labrun.tasks.provision.bring_up import provision_machine

    located = session.locate()
    jobs = machine_jobs(session, plan.machines, wait=wait, configures=configures)
    for name, job in jobs.items():
        networks = [nic.network for nic in session.lab.hosts[name].interfaces]
        behind = next((each for each in networks if each in moving), "")
        jobs[name] = replace(job, behind=behind, through=located[name].hops)
    names = [item.spec.host for item in plan.machines]
    deadline = max((job.timeout for job in jobs.values()), default=0.0) + MARGIN
    data = {host: {"up": job} for host, job in jobs.items()}
    # --timeout is a part of this deadline, not all of it.
    budget = replace(session.budget(deadline, until="become ready"), deadline=deadline)
    if not session.invocation.chosen_workers:
        at_once = 0
        for member in session.members():
            here = [item for item in plan.machines if item.spec.host in member.part.hosts]
            kinds = [(item.kind, item.spec) for item in here]
            at_once += machines_at_once(connect(member.uri), kinds) if here else 0
        budget = replace(budget, workers=max(at_once, 1))
    with session.engine(located, budget, data, hosts=names) as nornir:
        result = nornir.run(provision_machine)
    rows = {host: [("machine", host), ("ready", host)] for host in names}
    return outcomes_of(result, "machine", rows=rows)
