"""`labrun run FILE.py`: any Nornir task on every host, over labrun's inventory, engine and logins."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from labrun.outcome import Outcome
from labrun.progress import report
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.cli.rollout_options import rollout_options
from labrun.runner.commands.user_tasks.loading import UserTask, load_task, parameters_of
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.rollout import ALL_AT_ONCE, Rollout, max_fail_of
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from nornir.core import Nornir
    from nornir.core.task import Task

__all__ = ["run_task"]

_SECONDS = 180.0


@verb("run", recorded=True)
@click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True, help="A parameter of the task; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Run the task as a dry run: task.is_dry_run() is true.")
@click.option("--diff", is_flag=True, help="Show the diffs that the task returned.")
@rollout_options
@click.argument("place", metavar="FILE.py[:TASK]", type=click.Path())
def command(
    invocation: Invocation,
    place: str,
    settings: tuple[str, ...],
    dry_run: bool,
    diff: bool,
    canary: int | None,
    max_fail: str | None,
) -> Report:
    """Run a Nornir task of your own on all hosts (or --hosts).

    The task's connection called `netmiko` is labrun's own login, so nornir_netmiko's tasks work
    as they are. MODULE:TASK names a task that is installed. -v adds the results as nornir_utils
    prints them. With --dry-run, exit code 3 if the task reports a change.
    """
    rollout = Rollout(canary, max_fail_of(canary, max_fail))
    # What a user's code prints is no result of labrun's, and --json is one document.
    with redirect_stdout(sys.stderr), redirect_stderr(sys.stderr):
        task = load_task(place)
        parameters = parameters_of(task, settings)
    session = open_session(invocation)
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(lab_lock(session.state.lock, "run"))
        rows = run_task(session, task, parameters, dry_run=dry_run, rollout=rollout)
    return Report(session.lab.name, rows, diff=diff)


def run_task(
    session: Session,
    task: UserTask,
    parameters: Mapping[str, Any],
    *,
    dry_run: bool = False,
    rollout: Rollout = ALL_AT_ONCE,
) -> list[Outcome]:
    """Run a Nornir task on the session's hosts, and return a row for each.

    Hosts of one `redundancy` group do not run at the same time.
    """
    from dataclasses import replace

    from labrun.runner.commands.user_tasks.rows import rows_of
    from labrun.tasks.guest.lazy_login import offer_login

    seconds: dict[str, float] = {}

    def on_host(nornir_task: Task) -> Any:
        host = nornir_task.host.name
        report(host, "running")
        began = time.monotonic()
        offer_login(nornir_task.host)
        try:
            return task(nornir_task, **parameters)
        finally:
            seconds[host] = time.monotonic() - began

    groups = {name: session.lab.hosts[name].redundancy for name in session.hosts}
    named = {name: group for name, group in groups.items() if group is not None}
    budget = session.budget(_SECONDS, rollout=replace(rollout, groups=named))
    located = session.locate()
    with (
        progress(session.hosts, session.invocation),
        session.engine(located, budget, dry_run=dry_run) as nornir,
        redirect_stdout(sys.stderr),
        redirect_stderr(sys.stderr),
        _told(session.invocation, nornir) as told,
    ):
        result = told.run(task=on_host, name=task.__name__)
    return rows_of(result, task.__name__, seconds, dry_run=dry_run)


@contextmanager
def _told(invocation: Invocation, nornir: Nornir) -> Iterator[Nornir]:
    """Yield a Nornir that prints raw results with -v; with -vv all of labrun's do."""
    if invocation.verbosity != 1:
        yield nornir
        return
    from labrun.runner.engine.raw_results import RawResults

    yield nornir.with_processors([RawResults()])
