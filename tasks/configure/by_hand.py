"""The Nornir task behind `configure --dry-run --explain`: the commands for what differs now."""

from __future__ import annotations

from nornir.core.task import Result, Task

from labrun.tasks.configure.converge import HostRun
from labrun.tasks.configure.resources import secrets_of
from labrun.tasks.configure.rows import OutcomeBuilder
from labrun.tasks.guest.inside import host_transport

__all__ = ["by_hand"]


def by_hand(task: Task, only: list[str] | None = None) -> Result:
    """Compare the host with the spec in its data under ``configure``, and change nothing.

    The result is the rows of a dry run, as a list of outcomes, plus ``commands``: the lines for a root
    shell that bring the host in line, as a tuple. Secrets are ``<secret>`` in both. Raises a
    TransportError or CommandError if the host cannot be read.
    """
    host = task.host
    run = HostRun(host.name, host.data["configure"], tuple(only or ()), dry_run=True)
    plan = run.look(host_transport(host)).plan
    secrets = secrets_of(run.spec)
    rows = [secrets.masked(row) for row in OutcomeBuilder(host.name, plan).untouched(dry_run=True)]
    lines = tuple(secrets.mask(line) for part in plan.sections if part.apply for line in part.commands)
    return Result(host=host, result=rows, commands=lines)
