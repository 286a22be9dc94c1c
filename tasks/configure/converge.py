"""One host's loop: gather, plan, apply, log in again, gather again. A dry run stops before apply."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labrun import __version__
from labrun.errors import CommandError, ConnectionLostError, TransportError
from labrun.outcome import Outcome, Status
from labrun.ports import Transport
from labrun.progress import report
from labrun.tasks.configure.applied import renewed, write_applied
from labrun.tasks.configure.confirmation import APPLY_SECONDS, Confirmation, RollbackResult, remember
from labrun.tasks.configure.gateway_probe import silent
from labrun.tasks.configure.guard import clear_leftover, close
from labrun.tasks.configure.plan import HostPlan, Json, Seen
from labrun.tasks.configure.resources import gather, plan_host
from labrun.tasks.configure.rows import OutcomeBuilder
from labrun.tasks.guest.deadline import finishing, pace
from labrun.tasks.guest.facts.applied import read_applied
from labrun.tasks.guest.facts.guard import Standing, goes_back, standing
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe, apply_script, marker, parse_facts

__all__ = ["BEGUN", "HostRun", "converge"]

BEGUN = "/var/lib/labrun/begun"
"""The guest's record of the runs that have begun to change it, a folder each; the latest 20 are kept."""

_GATHER_TIMEOUT = 60.0
_NOT_SEEN = "no new login saw the change in place"
# How long a change may take to come into effect (a DHCP lease, sshd's reload).
_SETTLE = 15.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class HostRun:
    """The job for one host: its spec, the requested sections (none = all), dry run or not.

    ``run`` and ``digest`` are the run's ID and the lab file's, for the record in the guest. ``attempt`` says
    who works on the host for the run: the guest lets only the first one begin. Without ``run`` it lets any.
    ``again`` ends the ID by which the guest knows another change of the same run, empty for the first.
    """

    host: str
    spec: Json
    only: tuple[str, ...] = ()
    dry_run: bool = False
    run: str = ""
    digest: str = ""
    attempt: str = ""
    again: str = ""

    @property
    def name(self) -> str:
        """Return the ID by which the guest knows this change, empty without ``run``."""
        return f"{self.run}{self.again}" if self.run else ""

    def begin(self) -> str:
        """Return shell text that ends the script unless this is the run's first attempt on the host."""
        if not self.run:
            return ""
        values = {"run": self.name, "attempt": self.attempt or "unknown", "begun": BEGUN}
        return assigned(values) + guest_script("begin_run")

    def look(self, transport: Transport, also: Sequence[Probe] = ()) -> Seen:
        """Gather over ``transport`` and return the facts and what is left to change.

        ``also`` holds additional probes.
        """
        mark = marker()
        script = gather(self.spec, self.only, mark, also)
        done = transport.run(script, timeout=_GATHER_TIMEOUT, sudo=True)
        try:
            facts = parse_facts(done.stdout, mark)
        except CommandError as error:
            last_line = Captured(done.stderr, done.exit_status).last_line
            raise type(error)(f"{error.reason}: {last_line}", host=self.host, step="gather") from error
        return Seen(plan_host(self.spec, facts, self.only), facts, done.seconds)

    def record(self, before: Seen, after: HostPlan) -> str:
        """Return shell text that records ``after`` as applied; empty if the guest's record is up to date."""
        known = read_applied(before.facts)
        now = renewed(known, after, run=self.run, version=__version__, digest=self.digest)
        stale = now.items != (known.items if known is not None else {})
        return write_applied(now) if stale else ""


def converge(
    run: HostRun, transport: Transport, confirmation: Confirmation, login: Callable[[], Transport]
) -> list[Outcome]:
    """Bring the host to its spec and return one row per thing, in the order of the sections.

    ``login`` opens a new session to where ``transport`` went. Raises a TransportError or CommandError
    if nothing could be done or determined.
    """
    report(run.host, "gather")
    seen = run.look(transport)
    left_over = standing(seen.facts)
    if left_over is None:
        return _converge(run, seen, transport, confirmation)
    if not left_over.is_left_over:
        return OutcomeBuilder(run.host, seen.plan).borrowed(left_over, dry_run=run.dry_run)
    if run.dry_run:
        return [
            _leftover_row(run, left_over, "would be rolled back"),
            *_converge(run, seen, transport, confirmation),
        ]
    report(run.host, "guard", f"run {left_over.run} left a change unconfirmed")
    seen = clear_leftover(left_over, transport, login, run.look)
    fresh = login()
    try:
        rows = _converge(run, seen, fresh, confirmation)
    finally:
        close(fresh)
    return [_leftover_row(run, left_over, "was rolled back first"), *rows]


def _leftover_row(run: HostRun, left_over: Standing, ending: str) -> Outcome:
    why = f"its unconfirmed change {ending}"
    return Outcome(run.host, "guard", left_over.run, Status.WARNING, why=why)


def _converge(run: HostRun, seen: Seen, transport: Transport, confirmation: Confirmation) -> list[Outcome]:
    story = OutcomeBuilder(run.host, seen.plan)
    if run.dry_run:
        return story.untouched(dry_run=True)
    if seen.plan.is_empty:
        remember(transport, run.record(seen, seen.plan))
        return story.untouched()
    if pace().stopping.is_set():
        return story.interrupted()
    report(run.host, "apply", ", ".join(part.section for part in seen.plan.sections if part.apply))
    answer = _apply(transport, seen, run.begin(), confirmation)
    taken = answer.word("attempt-taken")
    if taken is not None:
        return story.taken(run.run, taken)
    refusal = confirmation.refusal(answer)
    if refusal is not None:
        return story.refused(refusal)
    report(run.host, "confirm")
    with finishing():
        return _confirm(run, story, seen, answer, confirmation)


def _apply(transport: Transport, seen: Seen, begin: str, confirmation: Confirmation) -> Facts:
    """Run the script; if the session broke under it the output is empty, and the new login will tell."""
    mark = marker()
    plan = seen.plan
    script = apply_script(
        [(part.section, part.apply) for part in plan.sections if part.apply],
        mark,
        first=begin + confirmation.first(seen),
        last=confirmation.last(plan),
    )
    try:
        done = transport.run(script, timeout=APPLY_SECONDS, sudo=True)
    except ConnectionLostError:
        return Facts()
    try:
        return parse_facts(done.stdout, mark)
    except CommandError:
        # Killed midway, by a power cut or alone: not a failure that leaves everything as it was.
        return Facts()


def _confirm(
    run: HostRun, story: OutcomeBuilder, seen: Seen, answer: Facts, confirmation: Confirmation
) -> list[Outcome]:
    """Log in again, check, and confirm; otherwise have the host roll back."""
    fresh: Transport | None = None
    left: HostPlan | None = None
    try:
        try:
            fresh = confirmation.enter()
            now = _settled(run, fresh, answer, seen.plan, confirmation)
            lapsed = confirmation.lapsed(seen.plan, now.facts)
            fault = _NOT_SEEN if lapsed else confirmation.demands(seen, now)
            left = None if lapsed or goes_back(now.facts, run.name) else now.plan
            if fault is None:
                if confirmation.keep(fresh, seen.plan, run.record(seen, now.plan)):
                    return story.changed(now.plan, answer)
                fault = "it was not confirmed in time"
        except (TransportError, CommandError) as error:
            fault = (
                f"the new login was lost: {error.reason}"
                if fresh
                else f"no new login after the change: {error.reason}"
            )
        report(run.host, "rolling back", fault)
        back: RollbackResult = confirmation.roll_back(run.look, seen.plan, fresh)
    finally:
        close(fresh)
    if back.stayed and back.seen is not None:
        return story.changed(back.seen.plan, answer)
    return story.rolled_back(fault, back, left, answer)


def _settled(
    run: HostRun, fresh: Transport, answer: Facts, plan: HostPlan, confirmation: Confirmation
) -> Seen:
    """Return the host's state once it has settled, or has rolled back; the wait is bounded."""
    gateways = [address for part in plan.sections for address in part.gateways]
    probes = confirmation.probes(plan)
    share = pace()
    until = time.monotonic() + share.remaining(min(_SETTLE, confirmation.patience))
    pause = _FIRST_PAUSE
    while True:
        now = run.look(fresh, probes)
        remaining = until - time.monotonic()
        open_ends = _may_settle(now.plan, answer) or silent(now.facts, gateways)
        if not open_ends or goes_back(now.facts, run.name) or remaining <= 0:
            return now
        if share.stopping.wait(min(pause, remaining)):
            return now
        pause = min(pause * 2, _LONGEST_PAUSE)


def _may_settle(left: HostPlan, answer: Facts) -> bool:
    """Tell whether waiting can help: something is left, and its section did not report a failure."""
    open_ends = [part.section for part in left.sections if part.apply]
    return any(answer.commands.get(name, Captured("", 0)).status == 0 for name in open_ends)
