"""Configure the hosts of a lab that has just come up: those that answer, then those that these lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from labrun.outcome import Outcome, Status
from labrun.runner.cli.progress import progress
from labrun.runner.engine.session import Session
from labrun.runner.engine.waiting import ready_rows

__all__ = ["configured_in_turn"]


def configured_in_turn(session: Session, rows: Sequence[Outcome]) -> tuple[list[Outcome], bool]:
    """Configure what is ready by the ``rows`` of `up`, with the lab's lock held.

    A host that did not answer because the one that leads to it was not configured is waited for once that
    one is, and configured in its turn. Return the rows of all of it, and whether any host was configured.
    """
    from labrun.runner.commands.configure import configure_hosts

    came_up, configured = list(rows), list[Outcome]()
    done: set[str] = set()
    while turn := [host for host in _configurable(session, came_up) if host not in done]:
        fresh = configure_hosts(replace(session, hosts=tuple(turn)))
        configured += fresh
        done.update(turn)
        bad = {row.host for row in fresh if row.exit_code}
        led = [row.host for row in came_up if _leader(row) in set(turn) - bad]
        if not led:
            break
        with progress(led, session.invocation):
            now = ready_rows(session, led, configures=True)
        answered = {row.host for row in now}
        came_up = [row for row in came_up if row.section != "ready" or row.host not in answered] + now
    return came_up + configured, bool(done)


def _configurable(session: Session, rows: Sequence[Outcome]) -> tuple[str, ...]:
    """Return the hosts that are there, whatever others lack: those that are ready, and existing machines."""
    waited = [row for row in rows if row.section == "ready"]
    failed = {row.host for row in rows if row.section == "machine" and row.status is Status.FAILED}
    ready = {row.host for row in waited if row.status in (Status.OK, Status.SKIPPED)} - failed
    existing = {host for host in session.hosts if session.lab.hosts[host].machine is None}
    if not waited and len(existing) < len(session.hosts):
        # Nothing was begun.
        return ()
    return tuple(host for host in session.hosts if host in ready | existing)


def _leader(row: Outcome) -> str | None:
    """Return the host that has to be configured before this one can be waited for, None if there is none."""
    if row.section != "ready" or row.status is not Status.PENDING or row.fault is None:
        return None
    return row.fault.host
