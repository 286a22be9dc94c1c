"""`labrun drift`: check whether networks, machines, hosts and paths are still as they were created."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from labrun.errors import UsageError
from labrun.moments import clock, stamp, told
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.commands.drift.claims import claimed, with_claims
from labrun.runner.commands.drift.earlier import (
    Moved,
    earlier_of,
    last_lines,
    moved_json,
    moved_lines,
)
from labrun.runner.commands.drift.fix import Fix, after_fix, apply, choose
from labrun.runner.commands.drift.logged import log_line, log_lines
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import Session
from labrun.runner.verb import verb
from labrun.runner.watching.runs import run_as_requested, running_options

if TYPE_CHECKING:
    from nornir.core import Nornir

    from labrun.json_values import JsonObject
    from labrun.runner.cli.scene import Detail
    from labrun.runner.engine.out_of_band import Rows
    from labrun.tasks.collect.capture import Unreachable
    from labrun.tasks.collect.task import RawResults
    from labrun.tasks.drift.journal import Logged
    from labrun.tasks.drift.judge import Seen
    from labrun.tasks.drift.task import DriftSpec
    from labrun.tasks.provision.planning import LabPlan

__all__ = ["Drift", "Fix", "drift_once", "drift_report"]

_MARGIN = 60.0
"""Seconds added to the pace of the traces, for a slow guest's logins and commands."""
_LOGGED = 2  # lines of a host's log on the screen; -v shows all
_MOVED = frozenset({Status.DRIFTED, Status.CONFLICT})


@dataclass(frozen=True, slots=True)
class Drift:
    """The result of one comparison of a lab.

    ``last_ok`` is, by item of the rows that are not ok, when the history last has it as declared, in
    seconds since the epoch; ``moved`` has those that were put right and did not stay so. ``logged`` is the
    log excerpt of each host with changes.
    """

    rows: Sequence[Outcome]
    last_ok: Mapping[tuple[str, str, str], float] = field(default_factory=lambda: MappingProxyType({}))
    logged: Mapping[str, Logged] = field(default_factory=lambda: MappingProxyType({}))
    notes: Sequence[str] = ()
    moved: Mapping[tuple[str, str, str], Moved] = field(default_factory=lambda: MappingProxyType({}))


@verb("drift", recorded=True)
@click.option(
    "--fix", is_flag=True, help="Correct what has drifted with `up` and `configure`, then compare again."
)
@click.option("--apply-pending", is_flag=True, help="With --fix: also apply pending changes and conflicts.")
@click.option(
    "--max-changes",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --fix: change nothing if more than N items would change.",
)
@running_options
def command(
    invocation: Invocation, fix: bool, apply_pending: bool, max_changes: int | None, **running: Any
) -> Report:
    """Compare networks, machines, settings and paths with the file and with what was last applied.

    Reads only, unless --fix is given. A row that is not ok says which side has changed: `pending` is the
    file, `drifted` the host, `conflict` both; the exit code is then 3.
    """
    if (apply_pending or max_changes is not None) and not fix:
        option = "--apply-pending" if apply_pending else "--max-changes"
        raise UsageError(f"{option} needs --fix", hint="without --fix, drift only reads")
    allowed = Fix(apply_pending, max_changes) if fix else None
    return run_as_requested(
        invocation, lambda session: drift_report(session, drift_once(session, allowed)), **running
    )


def drift_report(session: Session, drift: Drift) -> Report:
    """Return a comparison's result as the command's report."""
    notes = [
        *last_lines(drift.last_ok),
        *moved_lines(drift.moved),
        *(line for host, log in drift.logged.items() for line in log_lines(host, log)),
    ]
    last_ok = [
        {"host": host, "section": section, "name": name, "at": stamp(at)}
        for (host, section, name), at in drift.last_ok.items()
    ]
    logged = {host: log.as_json() for host, log in drift.logged.items()}
    moved = moved_json(drift.moved)
    extra: JsonObject = {"last_ok": last_ok, "moved": moved, "logged": logged, "notes": drift.notes}
    whole = session.invocation.verbosity > 0
    asked = "\n".join(drift.notes)
    scene = session.scene(details=_details(drift))
    return Report(
        session.lab.name, drift.rows, extra=extra, notes=notes, diff=whole, scene=scene, asked=asked
    )


def _details(drift: Drift) -> dict[tuple[str, str, str], list[Detail]]:
    """Return, by row, when it was last as declared, how often it moved, and what its host logged."""
    details: dict[tuple[str, str, str], list[Detail]] = {}
    for item, at in drift.last_ok.items():
        details.setdefault(item, []).append(("last ok", told(at)))
    for item, found in drift.moved.items():
        again = f"drifted {found.times} times since {clock(found.since)}: something there sets it again"
        details.setdefault(item, []).append(("again", again))
    for row in drift.rows:
        log = drift.logged.get(row.host)
        if row.status in _MOVED and log is not None and log.lines:
            lines = [("log", log_line(line)) for line in log.lines if not line.labrun][-_LOGGED:]
            details.setdefault((row.host, row.section, row.name), []).extend(lines)
    return details


def drift_once(session: Session, fix: Fix | None = None) -> Drift:
    """Compare the lab once, holding its lock, so that only ``fix`` changes anything meanwhile.

    Raises HypervisorError, and LockedError with the holder of the lock. A loop opens a new session for each
    run.
    """
    with lab_lock(session.state.lock, session.invocation.command):
        drift = look(session)
        if fix is None or session.invocation.interruption.came:
            return drift
        return _fixed(session, drift, fix)


def _fixed(session: Session, before: Drift, fix: Fix) -> Drift:
    corrections = choose(before.rows, fix)
    count = len(corrections.items)
    if fix.max_changes is not None and count > fix.max_changes:
        note = f"nothing was corrected: {count} items would change, more than --max-changes {fix.max_changes}"
        return replace(before, notes=(note,))
    if not corrections.items:
        return replace(before, rows=after_fix(before.rows, (), before.rows, corrections))
    done = apply(session, corrections)
    after = look(session)
    rows = after_fix(before.rows, done, after.rows, corrections)
    # The earlier log excerpts also explain what has been corrected now.
    return replace(before, rows=rows, last_ok={**before.last_ok, **after.last_ok})


def look(session: Session) -> Drift:
    """Read and judge everything, with the lab's lock held: one login and one script per host.

    Hosts beyond ``--hosts`` are read as well: the reason why a host's path fails is often found on another
    host.
    """
    from labrun.inventory.hosts.locate import no_logins
    from labrun.inventory.topology.targets import concerned
    from labrun.runner.engine.out_of_band import look_inside
    from labrun.runner.engine.results import results_of
    from labrun.tasks.collect.from_inside import without_login
    from labrun.tasks.collect.task import captures_of
    from labrun.tasks.drift.judge import Seen, drift_rows
    from labrun.tasks.drift.task import SPEC, observe
    from labrun.tasks.judging import judging_time
    from labrun.tasks.out_of_band.captures import captures_from_inside
    from labrun.tasks.provision.planning import plan_lab

    session = session.measured()
    lab = session.lab
    silent: list[Outcome] = []
    plan: LabPlan | None = None
    if session.span is not None:
        from labrun.runner.commands.span_up import silent_rows, whole_plan
        from labrun.runner.engine.span_plans import plan_several

        plan, silent = whole_plan(plan_several(session, None)), silent_rows(session, session.span)
    elif session.uri:
        plan = plan_lab(lab, session.uri, None)
    off = _off(plan) | session.lost()
    specs = _specs(session, off)
    data = {host: {SPEC: spec} for host, spec in specs.items()}
    read = concerned(lab, session.hosts)
    running = [host for host in lab.hosts if host in read and host not in off]
    budget = session.budget(_deadline(specs), reads=True)
    located = session.locate()
    with (
        progress(running, session.invocation),
        session.engine(located, budget, data, hosts=running, watched=True) as nornir,
    ):
        results: RawResults = results_of(nornir.run(observe), dict) if running else {}
        glimpses = look_inside(session, located, results, lambda host: _expected_of(specs[host]))
        with judging_time(session.invocation.timeout):
            seen = Seen(
                specs={host: spec.configure for host, spec in specs.items()},
                captures={
                    **without_login(captures_of(results), no_logins(lab, located)),
                    **captures_from_inside(lab, glimpses),
                    **_unreachable(off, session.lost()),
                },
                plan=plan,
                made=frozenset(session.state.host_keys()),
                strange_keys=_strange_keys(results),
            )
            rows = with_claims(drift_rows(lab, seen, session.hosts), claimed(session)) + silent
        _keep_evidence(session, rows, results, specs)
        earlier = earlier_of(session, rows)
        logs = _logs(session, nornir, rows, seen, earlier.last_ok)
        return Drift(rows, earlier.last_ok, logs, moved=earlier.moved)


def _expected_of(spec: DriftSpec) -> Rows:
    from labrun.runner.engine.out_of_band import Rows
    from labrun.tasks.collect.collect_spec import CollectSpec
    from labrun.tasks.drift.task import drift_probes

    return Rows(drift_probes(spec.configure, CollectSpec()), spec.verify)


def _keep_evidence(
    session: Session, rows: Sequence[Outcome], results: RawResults, specs: Mapping[str, DriftSpec]
) -> None:
    """Attach the output of the hosts with differences to the recorded run."""
    from labrun.tasks.collect.task import evidence_of
    from labrun.tasks.configure.resources import secrets_of

    recording = session.invocation.recording
    if not recording.is_kept:
        return
    for host in sorted({row.host for row in rows if row.exit_code} & results.keys()):
        result = results[host]
        if not isinstance(result, BaseException):
            text = evidence_of(result) if recording.has_room else None
            recording.attach(host, secrets_of(specs[host].configure).mask(text))


def _off(plan: LabPlan | None) -> dict[str, str]:
    """Return, by host, why a machine cannot answer according to libvirt."""
    reasons = plan.absent() if plan is not None else {}
    for item in plan.machines if plan is not None else ():
        if item.seen is not None and item.seen.machine.state != "running":
            reasons[item.spec.host] = f"the machine is {item.seen.machine.standing}: `labrun up` starts it"
    return reasons


def _unreachable(off: Mapping[str, str], lost: Mapping[str, str]) -> dict[str, Unreachable]:
    from labrun.tasks.collect.capture import Unreachable

    silent = {host: Unreachable(why, Status.UNKNOWN) for host, why in lost.items()}
    return {host: Unreachable(why, off=True) for host, why in off.items()} | silent


def _specs(session: Session, off: Mapping[str, str]) -> dict[str, DriftSpec]:
    from labrun.tasks.collect.schedule import collect_spec
    from labrun.tasks.configure.resources import host_spec
    from labrun.tasks.drift.task import DriftSpec

    lab, skipped = session.lab, frozenset(off)
    return {
        host: DriftSpec(host_spec(lab, host), collect_spec(lab, host, skip=skipped)) for host in lab.hosts
    }


def _deadline(specs: Mapping[str, DriftSpec]) -> float:
    from labrun.tasks.collect.schedule import patience_for, seconds_for

    verify = (spec.verify for spec in specs.values())
    return max((seconds_for(spec) + patience_for(spec) for spec in verify), default=0.0) + _MARGIN


def _strange_keys(results: RawResults) -> dict[str, str]:
    from labrun.errors import HostKeyChangedError

    return {host: error.reason for host, error in results.items() if isinstance(error, HostKeyChangedError)}


def _logs(
    session: Session,
    nornir: Nornir,
    rows: Sequence[Outcome],
    seen: Seen,
    last_ok: Mapping[tuple[str, str, str], float],
) -> dict[str, Logged]:
    """Read the logs of the hosts with changes, over connections that are still open."""
    from labrun.runner.engine.results import results_of
    from labrun.tasks.collect.capture import Capture
    from labrun.tasks.configure.resources import secrets_of
    from labrun.tasks.configure.sshd_profiles import login_user
    from labrun.tasks.drift.journal import Logged
    from labrun.tasks.drift.task import read_log
    from labrun.tasks.state.sections import Scope, section_of

    # Machines change on the hypervisor, and the end of a path rarely shows why it fails.
    settings = [row for row in rows if section_of(row.section).scope is Scope.HOST]
    differing = [row for row in settings if row.status in _MOVED]
    changed = {row.host for row in differing}
    hosts = [
        host
        for host in session.hosts
        if host in changed
        and isinstance(capture := seen.captures.get(host), Capture)
        and capture.out_of_band is None
    ]
    if not hosts:
        return {}
    users = {host: login_user(session.lab.hosts[host]) for host in hosts}
    since: dict[str, float] = {}
    for row in differing:
        at = last_ok.get((row.host, row.section, row.name), 0.0)
        since[row.host] = min(at, since.get(row.host, at))
    logged = frozenset(hosts)
    chosen = nornir.filter(filter_func=lambda host: host.name in logged)
    results = chosen.run(read_log, since=since, user=users, key=_fingerprint(session))
    return {
        host: log.masked(secrets_of(seen.specs[host]))
        for host, log in results_of(results, Logged).items()
        if not isinstance(log, BaseException)
    }


def _fingerprint(session: Session) -> str:
    """Return the fingerprint of the lab's key as sshd logs it, empty without one."""
    if not session.state.has_keys:
        return ""
    blob = base64.b64decode(session.state.public_key.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
