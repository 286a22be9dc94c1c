"""`labrun verify`: compare the observed state of the hosts with the lab file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from labrun.errors import UsageError
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import load
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.commands.completions import complete_pair
from labrun.runner.commands.faults.fault_state import require_planted, with_hint
from labrun.runner.commands.verify.outputs import output_options, with_outputs
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.inventory.topology.segments import SegmentTrial
    from labrun.outcome import Outcome
    from labrun.runner.engine.out_of_band import Rows
    from labrun.runner.engine.span import Member
    from labrun.tasks.collect.capture import Capture, Unreachable
    from labrun.tasks.collect.collect_spec import CollectSpec
    from labrun.tasks.collect.task import RawResults

_OUTPUTS = ("matrix", "junit", "markdown")
_APART = {
    "explain": ("offline", "pair", "hint", *_OUTPUTS),
    "hint": ("offline", "pair", *_OUTPUTS),
    "pair": _OUTPUTS,
}
"""Options that another option would ignore, or that would reveal more than requested."""

_MARGIN = 60.0
"""Seconds added to the pace of the traces, for a slow guest's logins and commands."""


@verb("verify", recorded=True)
@click.option("--explain", is_flag=True, help="Print the commands to check the same by hand, and do nothing.")
@click.option("--offline", is_flag=True, help="Print what is expected, without asking any host.")
@click.option(
    "--pair",
    metavar="A:B",
    shell_complete=complete_pair,
    help="Explain the path between two hosts step by step.",
)
@click.option("--full", is_flag=True, help="Trace every pair, however large the lab is.")
@click.option(
    "--hint", is_flag=True, help="After `labrun break`: show what fails but not why, and give one more hint."
)
@click.option("--no-evidence", is_flag=True, help="Record only the results in the history.")
@output_options
def command(
    invocation: Invocation,
    explain: bool,
    offline: bool,
    pair: str | None,
    full: bool,
    hint: bool,
    no_evidence: bool,
    **outputs: Any,
) -> Report:
    """Compare the hosts' addresses, routes and paths with what the lab file implies.

    Reads only. Every ordered pair of hosts is traced or pinged; in a lab of more than 256 hosts, a sample of
    them. A row that fails says why.
    """
    _refuse_mixtures({"explain": explain, "offline": offline, "pair": pair, "hint": hint, **outputs})
    if pair is not None:
        return _pair(invocation, pair, offline=offline)
    if offline:
        from labrun.runner.commands.verify.offline import offline_report

        lab = load(invocation)
        return with_outputs(offline_report(lab, invocation), lab, invocation, **outputs)
    session = open_session(invocation)
    if explain:
        return Report(session.lab.name, text=explained(session, full=full))
    if hint:
        require_planted(session.state)
    rows = verify_rows(session, full=full, evidence=not no_evidence)
    if hint:
        whole = len(session.hosts) == len(session.lab.hosts)
        return with_hint(session.lab.name, rows, session.state, whole=whole)
    report = Report(session.lab.name, rows, scene=session.scene())
    return with_outputs(report, session.lab, invocation, **outputs)


def verify_rows(session: Session, *, full: bool = False, evidence: bool = True) -> list[Outcome]:
    """Return every row of `verify` for the session's hosts."""
    from labrun.inventory.topology.targets import concerned
    from labrun.tasks.collect.judge import judge
    from labrun.tasks.collect.segment_rows import segment_rows
    from labrun.tasks.judging import judging_time

    read = concerned(session.lab, session.hosts, full=full)
    segments = [each for each in session.segments() if each.source in session.hosts]
    captures = gather_captures(session, full=full, only=read, evidence=evidence, segments=segments)
    with judging_time(session.invocation.timeout):
        rows = judge(session.lab, captures, session.hosts, full=full)
        rows += segment_rows(session.lab, captures, segments)
    return rows + _refused(session) + _cut_off(session) + _forwarded(session, captures) + _worsened(session)


def _refused(session: Session) -> list[Outcome]:
    """Return a row for each rule with ``log: true``: how many packets the hypervisor refused by it."""
    if not any(rule.log for declared in session.lab.filters.values() for rule in declared.rules):
        return []
    from labrun.tasks.provision.refused_traffic import counter_rows

    return _of_members(session, lambda member: counter_rows(member.part, member.uri))


def _cut_off(session: Session) -> list[Outcome]:
    """Return a row for each network or machine that the hypervisor no longer carries as it should."""
    if not session.lab.needs_hypervisor:
        return []
    from labrun.tasks.provision.gateway_claims import claim_rows
    from labrun.tasks.provision.uplinks import health_rows, plug_rows, uplink_rows

    looks = (uplink_rows, health_rows, plug_rows, claim_rows)
    return _of_members(
        session, lambda member: [row for look in looks for row in look(member.part, member.uri)]
    )


def _of_members(session: Session, rows: Callable[[Member], Sequence[Outcome]]) -> list[Outcome]:
    """Return the rows of each hypervisor; of several, their names say of which."""
    from labrun.tasks.provision.several_plans import labelled

    return [row for each in session.members() for row in labelled(rows(each), each.label)]


def _forwarded(session: Session, captures: Mapping[str, Capture | Unreachable]) -> list[Outcome]:
    """Return a row for each port of the hypervisor that leads into the lab, tried from there."""
    if not any(network.forward for network in session.lab.networks.values()):
        return []
    from labrun.tasks.collect.forward_judge import expected_forwards, forward_rows
    from labrun.tasks.provision.forward_trials import try_forwards

    trials = tuple(expected_forwards(session.lab, session.hosts))
    return forward_rows(session.lab, captures, try_forwards(session.lab, session.uri, trials))


def _worsened(session: Session) -> list[Outcome]:
    """Return a warning for each link that `labrun tc` has made slow or lossy."""
    from labrun.tasks.provision.link_shaping import link_rows

    return _of_members(session, lambda member: link_rows(member.part, member.uri, _hosts_on(session, member)))


def _hosts_on(session: Session, member: Member) -> list[str]:
    return [host for host in session.hosts if not member.name or host in member.part.hosts]


def _refuse_mixtures(given: Mapping[str, object]) -> None:
    for one, others in _APART.items():
        for other in others:
            if given[one] and given[other]:
                raise UsageError(f"--{one} and --{other} cannot be combined", hint="leave one of them out")


def _pair(invocation: Invocation, pair: str, *, offline: bool) -> Report:
    from labrun.runner.commands.verify.pair import nodes_of, pair_of, pair_report
    from labrun.tasks.judging import judging_time

    if invocation.hosts is not None:
        raise UsageError("--pair names its hosts itself", hint="leave --hosts out")
    if offline:
        lab = load(invocation)
        return pair_report(lab, *pair_of(lab, pair), None)
    session = open_session(invocation)
    source, target = pair_of(session.lab, pair)
    # Only the hosts on the path are read: they show why it fails.
    captures = gather_captures(session, only=nodes_of(session.lab, source, target), pair=(source, target))
    with judging_time(invocation.timeout):
        return pair_report(session.lab, source, target, captures)


def gather_captures(
    session: Session,
    *,
    full: bool = False,
    only: Collection[str] | None = None,
    pair: tuple[str, str] | None = None,
    evidence: bool = True,
    segments: Sequence[SegmentTrial] = (),
) -> Mapping[str, Capture | Unreachable]:
    """Return the capture of every host of the lab, or of the hosts in ``only``.

    ``full`` traces every pair; ``pair`` traces only this one and runs no checks. ``segments`` are trials of
    full segments. With ``evidence``, the output is kept with the run.
    """
    from labrun.inventory.hosts.locate import no_logins
    from labrun.inventory.topology.targets import targets_of
    from labrun.runner.engine.absence import off
    from labrun.runner.engine.out_of_band import look_inside
    from labrun.runner.engine.results import results_of
    from labrun.tasks.collect.capture import Unreachable
    from labrun.tasks.collect.from_inside import without_login
    from labrun.tasks.collect.schedule import collect_spec
    from labrun.tasks.collect.task import SPEC, captures_of, collect, evidence_of
    from labrun.tasks.judging import judging_time
    from labrun.tasks.out_of_band.captures import captures_from_inside

    reasons = off(session)
    specs = _specs(session, reasons, full=full, segments=segments)
    if pair is not None:
        source, target = pair
        # In a large lab the pair may not be among those that are tried otherwise.
        if target not in targets_of(session.lab, source):
            specs[source] = collect_spec(session.lab, source, skip=set(reasons), full=True)
        specs = {host: _for_pair(spec, host, pair) for host, spec in specs.items()}
    reasons = {host: why for host, why in reasons.items() if only is None or host in only}
    running = [host for host in specs if host not in reasons and (only is None or host in only)]
    budget = session.budget(_longest(specs.values()) + _MARGIN, reads=True)
    data = {host: {SPEC: spec} for host, spec in specs.items()}
    located = session.locate()
    with progress(running, session.invocation):
        with session.engine(located, budget, data, hosts=running, watched=True) as nornir:
            results: RawResults = results_of(nornir.run(collect), dict)
        glimpses = look_inside(session, located, results, lambda host: _expected_of(specs[host]))
    recording = session.invocation.recording
    if evidence and recording.is_kept:
        for host, result in results.items():
            if not isinstance(result, BaseException):
                recording.attach(host, evidence_of(result) if recording.has_room else None)
    with judging_time(session.invocation.timeout):
        return {
            **without_login(captures_of(results), no_logins(session.lab, located)),
            **captures_from_inside(session.lab, glimpses),
            **{host: Unreachable(why, off=True) for host, why in reasons.items()},
        }


def _expected_of(spec: CollectSpec) -> Rows:
    from labrun.runner.engine.out_of_band import Rows
    from labrun.tasks.collect.collect_spec import CollectSpec
    from labrun.tasks.collect.script import collect_probes

    return Rows(collect_probes(CollectSpec(settings=spec.settings)), spec)


def _for_pair(spec: CollectSpec, host: str, pair: tuple[str, str]) -> CollectSpec:
    return spec.narrowed(lambda to: (host, to) == pair)


def _specs(
    session: Session, off: Mapping[str, str], *, full: bool = False, segments: Sequence[SegmentTrial] = ()
) -> dict[str, CollectSpec]:
    from labrun.tasks.collect.schedule import collect_spec

    # Skip machines that are off: waiting for their answer would add nothing to what libvirt reports.
    skip = frozenset(off)
    return {
        name: collect_spec(session.lab, name, skip=skip, full=full, segments=segments)
        for name in session.lab.hosts
    }


def _longest(specs: Iterable[CollectSpec]) -> float:
    from labrun.tasks.collect.schedule import patience_for, seconds_for

    return max((seconds_for(spec) + patience_for(spec) for spec in specs), default=0.0)


def explained(session: Session, *, full: bool = False) -> str:
    """Return, per host, the commands whose output `verify` compares."""
    from labrun.tasks.collect.check_script import by_hand
    from labrun.tasks.collect.segments import segments_by_hand

    blocks = []
    for host, spec in _specs(session, {}, full=full, segments=session.segments()).items():
        if host in session.hosts:
            lines = [f"# on {host}", "ip address", "ip route", "sysctl net.ipv4.ip_forward", "sudo sshd -T"]
            lines += [f"traceroute -n {trace.address}   # {trace.to}" for trace in spec.traces]
            lines += [f"ping -c 1 {ping.address}   # {ping.to}" for ping in spec.pings]
            lines += [f"{by_hand(check)}   # check {check.name}" for check in spec.checks]
            lines += [line for each in spec.segments for line in segments_by_hand(each)]
            blocks.append("\n".join(lines) + "\n")
    if forwards := _forwards_by_hand(session):
        blocks.append("\n".join(["# on the hypervisor", *forwards]) + "\n")
    return "\n".join(blocks)


def _forwards_by_hand(session: Session) -> list[str]:
    if not any(network.forward for network in session.lab.networks.values()):
        return []
    from labrun.tasks.collect.forward_judge import expected_forwards
    from labrun.tasks.provision.forward_trials import forwards_by_hand

    trials = tuple(expected_forwards(session.lab, session.hosts))
    return list(forwards_by_hand(session.lab, session.uri, trials))
