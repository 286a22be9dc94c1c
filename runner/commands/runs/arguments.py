"""Run references on a command line: the RUN argument of `show` and `diff`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from labrun.errors import LabrunError, UsageError
from labrun.moments import told
from labrun.outcome import Outcome
from labrun.runner.commands.completions import complete_lab_name
from labrun.runner.history.paths import history_path, lab_name
from labrun.runner.history.reading import History, lab_history
from labrun.runner.verb import VerbCommand

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from labrun.runner.cli.invocation import Invocation

__all__ = ["NAME", "RunsCommand", "complete_run", "history_of", "hosts_meant", "only_of"]

_OFFERED = 30

NAME = click.option(
    "--name",
    metavar="LAB",
    shell_complete=complete_lab_name,
    help="The lab's name, if its file is gone.",
)
"""Lets commands on past runs work without a lab file."""


class RunsCommand(VerbCommand):
    """A command whose arguments are runs, so that ``-1`` is the last run and not an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Escape ``-N`` so that click does not take it for an option."""
        return super().parse_args(ctx, [re.sub(r"^-([1-9]\d{0,8})$", _spelled, word) for word in args])


def _spelled(match: re.Match[str]) -> str:
    return f"last-{int(match[1]) - 1}"


def history_of(invocation: Invocation, name: str | None) -> History:
    """Return the history of the lab. Raises LabrunError if there is none."""
    lab = lab_name(invocation, name)
    history = lab_history(invocation, lab)
    if history is None:
        raise LabrunError(
            f"no run of {lab} is recorded in {history_path(invocation, lab)}",
            hint="`labrun up`, `verify` and others record their runs",
        )
    return history


def complete_run(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return completions of RUN: words, and the last letters of recent IDs; none without a history.

    Full IDs contain colons, at which bash splits words.
    """
    from click.shell_completion import CompletionItem

    from labrun.runner.cli.options import invocation_of

    try:
        runs = history_of(invocation_of(ctx), ctx.params.get("name")).runs(limit=_OFFERED)
    except (LabrunError, OSError):
        return []
    words = {"last": "the last run", **{run.command: f"the last {run.command}" for run in runs}}
    letters = {run.run.rpartition("-")[2]: f"{told(run.began)}: {run.command}" for run in runs}
    return [
        CompletionItem(word, help=meaning)
        for word, meaning in {**words, **letters}.items()
        if word.startswith(incomplete)
    ]


def hosts_meant(invocation: Invocation) -> list[str]:
    """Return the hosts of ``--hosts``, empty without it. Groups are resolved by the current lab file.

    A host may be gone from the file and still be in the history. Raises LabFileError, UsageError.
    """
    if invocation.hosts is None:
        return []
    words = [word.strip() for word in invocation.hosts.split(",") if word.strip()]
    if not any(word.startswith("@") for word in words):
        return words
    from labrun.runner.cli.lab_file import load
    from labrun.runner.cli.selection import select_hosts

    return list(select_hosts(load(invocation), invocation.hosts))


def only_of(hosts: Sequence[str], *runs: Sequence[Outcome]) -> list[list[Outcome]]:
    """Return each run's rows of these hosts, all if empty. Raises UsageError for a host in none of them."""
    known = {row.host for rows in runs for row in rows}
    unknown = [host for host in hosts if host not in known]
    if unknown:
        raise UsageError(f"there are no results of {', '.join(unknown)}", step="--hosts")
    return [[row for row in rows if not hosts or row.host in hosts] for rows in runs]
