"""The output of `--explain`: the commands to type for the same result."""

from __future__ import annotations

from collections.abc import Collection

from labrun.hypervisor import connect
from labrun.runner.engine.session import Session
from labrun.tasks.provision.domains import network_in
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.machine_commands import removal_commands
from labrun.tasks.provision.network_commands import network_commands
from labrun.tasks.provision.planning import LabPlan, PlannedMachine, plan_lab
from labrun.tasks.provision.plugged import cuts_off
from labrun.tasks.provision.reconnect import can_reconnect
from labrun.tasks.provision.table_commands import filter_commands, forward_commands, undefine_commands
from labrun.tasks.provision.tunnels import tunnel_commands

__all__ = ["explain_up"]


def explain_up(session: Session) -> str:
    """Return the virsh, nft, ip and mount commands for what `up` would create or change now."""
    if not session.uri:
        return f"# {session.lab.name}: {session.place}\n"
    subset = session.hosts if session.invocation.hosts is not None else None
    if session.span is not None:
        from labrun.runner.engine.span_plans import plan_several

        plans = [(each.member.uri, each.plan) for each in plan_several(session, subset)]
    else:
        plans = [(session.uri, plan_lab(session.lab, session.uri, subset))]
    lines = [line for uri, plan in plans for line in _of_plan(session, uri, plan, whole=subset is None)]
    lines += [f"# {host}: {why}" for host, why in session.lost().items()]
    return "\n".join(lines) + "\n"


def _of_plan(session: Session, uri: str, plan: LabPlan, *, whole: bool) -> list[str]:
    lines = [f"# {session.lab.name} on {uri}: {session.why_uri}"]
    for planned in plan.filters:
        lines += filter_commands(uri, planned)
    # Their commands connect the machines on them again.
    started = {
        planned.spec.full_name
        for planned in plan.networks
        if planned.plan.action == "restart" or (planned.seen and planned.seen.have["active"] != "yes")
    }
    anew = {planned.spec.name for planned in plan.networks if planned.spec.full_name in started}
    if not can_reconnect(uri):
        started = set()
    busy = plan.busy()
    for planned in plan.networks:
        lines.append(_heading("network", planned.spec.name, planned.plan.action))
        if kept := cuts_off(uri, planned.spec, planned.plan, busy[planned.spec.name]):
            lines.append(f"# left as it is: {kept}")
            continue
        lines += network_commands(connect(uri), uri, planned)
    for planned in plan.tunnels:
        lines.append(_heading("tunnel", planned.spec.name, planned.plan.action))
        lines += tunnel_commands(uri, planned)
    for planned in plan.forwards:
        lines += forward_commands(uri, planned, anew=planned.spec.name in anew)
    for item in plan.machines:
        lines.append(_heading("machine", item.spec.host, item.plan.action))
        lines += [f"# {item.plan.kept}"] if item.plan.kept else []
        lines += _machine(item, started) if item.plan.left or not item.plan.kept else []
    if whole:
        lines += undefine_commands(uri, plan.replaced_filters)
    return lines


def _heading(section: str, name: str, action: str) -> str:
    return f"# {section} {name}" + (" is as declared" if action == "none" else f": {action}")


def _machine(item: PlannedMachine, started: Collection[str]) -> list[str]:
    driver = driver_for(item.kind, item.uri)
    if item.plan.action == "none":
        return []
    if item.seen is None:
        return driver.explain(item.spec)
    seen = item.seen.machine
    if item.plan.action == "recreate":
        old = f"virsh -c {item.seen.uri}"
        return [*removal_commands(old, seen.full_name, seen.state), *driver.explain(item.spec)]
    changes = set(item.plan.item.differences) - item.plan.left
    wanted = item.plan.item.want["nics"]
    missing = set(wanted.split()) - set(seen.have.get("nics", "").split())
    if seen.defined.get("nics") == wanted and all(network_in(word) in started for word in missing):
        changes.discard("nics")
    return driver.explain_change(item.spec, seen, tuple(changes))
