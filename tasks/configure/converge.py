"""One host's loop: gather, plan, apply, enter anew, gather again. The same for a dry run, up to apply."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from labrun.errors import CommandError, ConnectionLostError, TransportError
from labrun.outcome import Outcome, Status
from labrun.ports import Transport
from labrun.progress import report
from labrun.tasks.configure.confirmation import Confirmation
from labrun.tasks.configure.plan import HostPlan, Item, Json
from labrun.tasks.configure.resources import gather, plan_host
from labrun.tasks.configure.shell import Captured, Facts, apply_script, marker, parse_facts
from labrun.tasks.pacing import pace

__all__ = ["HostRun", "converge"]

_GATHER_TIMEOUT = 60.0
_APPLY_TIMEOUT = 180.0
# How long a host may take until what was applied is in force (a DHCP lease, sshd's reload).
_SETTLE = 15.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class HostRun:
    """What is to be done on one host: its spec, the sections asked for (none = all), dry or not."""

    host: str
    spec: Json
    only: tuple[str, ...] = ()
    dry_run: bool = False

    def replan(self, transport: Transport) -> HostPlan:
        """Gather over ``transport`` and return what is left to change."""
        mark = marker()
        done = transport.run(gather(self.spec, self.only, mark), timeout=_GATHER_TIMEOUT, sudo=True)
        try:
            facts = parse_facts(done.stdout, mark)
        except CommandError as error:
            said = Captured(done.stderr, done.exit_status).last_line
            raise CommandError(f"{error.reason}: {said}", host=self.host, step="gather") from error
        return plan_host(self.spec, facts, self.only)


def converge(run: HostRun, transport: Transport, confirmation: Confirmation) -> list[Outcome]:
    """Bring the host to its spec and return one row per thing, in the order of the sections.

    Raises a TransportError or CommandError where nothing could be done or told.
    """
    started = time.monotonic()
    report(run.host, "gather")
    plan = run.replan(transport)
    if run.dry_run or plan.is_empty:
        return list(_rows(run, plan, None, {}, started))
    report(run.host, "apply", ", ".join(part.section for part in plan.sections if part.apply))
    said = _apply(transport, plan, confirmation)
    report(run.host, "confirm")
    try:
        fresh = confirmation.enter()
    except TransportError as error:
        return list(_taken_back(run, plan, confirmation.undo(plan), error, started))
    try:
        left = _settled(run, fresh, said)
        if left.is_empty:
            confirmation.keep(fresh, plan)
    finally:
        _close(fresh)
    return list(_rows(run, plan, left, said.commands, started))


def _apply(transport: Transport, plan: HostPlan, confirmation: Confirmation) -> Facts:
    """Run the one script; a session that broke under it says nothing, and the new login will tell."""
    mark = marker()
    script = apply_script(
        [(part.section, part.apply) for part in plan.sections if part.apply],
        mark,
        first=confirmation.first(plan),
        last=confirmation.last(plan),
    )
    try:
        done = transport.run(script, timeout=_APPLY_TIMEOUT, sudo=True)
        return parse_facts(done.stdout, mark)
    except ConnectionLostError:
        return Facts()


def _settled(run: HostRun, fresh: Transport, said: Facts) -> HostPlan:
    """Return what is left once the host has settled; its time is bounded."""
    share = pace()
    until = time.monotonic() + share.remaining(_SETTLE)
    pause = _FIRST_PAUSE
    while True:
        left = run.replan(fresh)
        remaining = until - time.monotonic()
        if not _may_settle(left, said) or remaining <= 0 or share.stopping.wait(min(pause, remaining)):
            return left
        pause = min(pause * 2, _LONGEST_PAUSE)


def _may_settle(left: HostPlan, said: Facts) -> bool:
    """Tell whether waiting can help: something is left, and its section did not say that it failed."""
    open_ends = [part.section for part in left.sections if part.apply]
    return any(said.commands.get(name, Captured("", 0)).status == 0 for name in open_ends)


def _close(transport: Transport) -> None:
    close = getattr(transport, "close", None)
    if close is not None:
        close()


def _rows(
    run: HostRun,
    plan: HostPlan,
    left: HostPlan | None,
    said: Mapping[str, Captured],
    started: float,
) -> Iterator[Outcome]:
    after = left.items() if left is not None else {}
    seconds = time.monotonic() - started
    before = plan.items()
    for (section, name), item in before.items():
        now = after.get((section, name))
        yield _row(run, section, item, now, said.get(section), seconds)
    for (section, name), item in after.items():
        if (section, name) not in before and item.state != "ok":
            yield _row(run, section, item, item, said.get(section), seconds)


def _row(
    run: HostRun, section: str, item: Item, now: Item | None, said: Captured | None, seconds: float
) -> Outcome:
    status, shown, why = _judged(run, item, now, said)
    return Outcome(
        host=run.host,
        section=section,
        name=item.name,
        status=status,
        expected=item.expected,
        actual=shown.actual,
        why=why,
        diff=item.diff if item.state == "change" else None,
        seconds=seconds,
    )


def _judged(
    run: HostRun, item: Item, now: Item | None, said: Captured | None
) -> tuple[Status, Item, str | None]:
    if item.state == "skipped":
        return Status.SKIPPED, item, item.why
    if item.state == "refused":
        return Status.FAILED, item, item.why
    if item.state == "ok":
        # What held before and no longer does was broken by this run.
        broken = now is not None and now.state != "ok"
        return (
            (Status.FAILED, now, now.why or "it held before this run")
            if broken and now
            else (Status.OK, item, None)
        )
    if run.dry_run:
        return Status.WOULD_CHANGE, item, item.why
    if now is None:
        return Status.CHANGED, Item(item.name, "ok", item.expected, item.expected), item.why
    if now.state == "ok":
        return Status.CHANGED, now, None
    return Status.FAILED, now, _reason(item.name, now, said)


def _reason(name: str, now: Item, said: Captured | None) -> str:
    """Return why a change did not take: what the host said of this very thing, else what it said last."""
    if said is not None and said.status != 0:
        lines = [line.strip() for line in said.text.splitlines()]
        own = [line.removeprefix(f"{name}: ") for line in lines if line.startswith(f"{name}: ")]
        return own[-1] if own else said.last_line
    return now.why or "it was set and is not so"


def _taken_back(
    run: HostRun, plan: HostPlan, undone: bool, error: TransportError, started: float
) -> Iterator[Outcome]:
    """Say what became of a change after which nobody could log in."""
    seconds = time.monotonic() - started
    reversible: Sequence[str] = [part.section for part in plan.sections if part.undo]
    for (section, name), item in plan.items().items():
        if item.state != "change":
            yield _row(run, section, item, None, None, seconds)
            continue
        back = undone and section in reversible
        ending = "the change was put back" if back else "the change is in place"
        why = f"no new login after the change: {error.reason}; {ending}"
        status = Status.FAILED if back else Status.UNKNOWN
        yield Outcome(run.host, section, name, status, item.expected, item.actual, why, item.diff, seconds)
