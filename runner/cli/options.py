"""The global options, valid before or after a command's name, and the invocation they result in."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from labrun.runner.cli.invocation import BY_SIZE, DEFAULT_WORKERS, THREADS, Invocation
from labrun.runner.cli.outputs import GivenPath

__all__ = [
    "MOST",
    "BoundedNumber",
    "BoundedRange",
    "GlobalOption",
    "bound",
    "complete_fork",
    "format_option_sections",
    "global_options",
    "invocation_of",
]

_DASK = re.compile(r"dask://(?:[^\s/:@\[\]]+|\[[0-9a-fA-F:]+\]):\d{1,5}")
MOST = 1_000_000
"""Bound on the absolute value of every numeric option, in seconds or items."""


class BoundedNumber(click.types.IntParamType):
    """An integer small enough for every consumer (SQLite, a clock, the kernel)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, with a clear message for one that is out of range."""
        number = super().convert(value, param, ctx)
        if abs(number) > MOST:
            self.fail(f"{_shortened(number)} is {'more' if number > 0 else 'less'} than {MOST}.", param, ctx)
        return number


class BoundedRange(BoundedNumber, click.IntRange):
    """Such an integer in a range that the help shows."""


def _shortened(number: int) -> str:
    text = str(number)
    return text if len(text) <= 40 else f"{text[:37]}..."


class GlobalOption(click.Option):
    """An option that every command takes."""


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds <= 0:
        raise click.BadParameter(f"{value!r} is not a number of seconds above 0.", ctx, param)
    if seconds > MOST:
        raise click.BadParameter(f"{value!r} is more than {MOST} seconds.", ctx, param)
    return seconds


def _engine(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None or value in (THREADS, "processes") or _DASK.fullmatch(value):
        return value
    raise click.BadParameter(f"{value!r} is not threads, processes or dask://HOST:PORT.", ctx, param)


def _complete_engine(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in (THREADS, "processes", "dask://") if name.startswith(incomplete)]


def _complete_lab(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _complete_hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from labrun.runner.cli.selection import complete_expression

    return complete_expression(ctx, incomplete)


def complete_fork(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the lab's forks."""
    from labrun.runner.cli.selection import lab_for_completion
    from labrun.tasks.provision.snapshot_store import FORKS

    lab = lab_for_completion(ctx)
    names = [fork.name for fork in FORKS.of(lab.name)] if lab is not None else []
    return [name for name in names if name.startswith(incomplete)]


def global_options(*, top: bool = False, own_format: bool = False) -> list[click.Parameter]:
    """Return new option objects. Only those of the ``top`` level read ``LABRUN_*`` variables.

    ``own_format`` leaves out ``--format`` and ``--json``, for a command that has its own.
    """
    # No default at any level: an omitted option must not override the value of another level.
    option = partial(GlobalOption, default=None, allow_from_autoenv=top)
    flag = partial(GlobalOption, default=None, allow_from_autoenv=False)
    formats = [
        # Both set the same value and the last one wins. The option that reads the variable must come last.
        flag(["--json", "format"], flag_value="json", help="The same as --format json."),
        option(["--format"], type=click.Choice(["table", "json", "github"]), help="Output format."),
    ]
    return [
        option(
            ["--lab"],
            metavar="FILE",
            shell_complete=_complete_lab,
            help="Lab file or its folder, - for stdin; by default lab.yaml here or in a folder above.",
        ),
        option(
            ["--allow-outside"], is_flag=True, help="Allow the lab file to read files outside its folder."
        ),
        option(["--hosts"], metavar="A,B,@GROUP", shell_complete=_complete_hosts, help="Only these hosts."),
        *([] if own_format else formats),
        option(
            ["--workers"],
            type=BoundedRange(1),
            metavar="N",
            help=f"Hosts to work on at the same time, by default {DEFAULT_WORKERS}.",
        ),
        option(
            ["--engine"],
            callback=_engine,
            shell_complete=_complete_engine,
            metavar="ENGINE",
            help="What the work runs on: threads, processes or dask://HOST:PORT; by default what suits.",
        ),
        option(["--timeout"], callback=_seconds, metavar="SECONDS", help="Time limit for each host."),
        option(
            ["-f", "--fork"],
            metavar="NAME",
            shell_complete=complete_fork,
            help="Work in this fork of the lab.",
        ),
        option(["-y", "--yes"], is_flag=True, help="Do not ask for confirmation."),
        flag(
            ["-v", "--verbose", "verbosity"],
            flag_value="v",
            multiple=True,
            help="More output; -vv adds raw results and tracebacks.",
        ),
        flag(
            ["-q", "--quiet", "verbosity"],
            flag_value="q",
            multiple=True,
            help="Show only failures and counts; -qq only errors.",
        ),
        option(["--no-color"], is_flag=True, help="No colours, as with NO_COLOR."),
        option(
            ["--state-dir"],
            type=GivenPath(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Where keys, known_hosts and history are kept.",
        ),
        option(
            ["--history"],
            type=GivenPath(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="History file; by default the lab's own in the state directory.",
        ),
    ]


def invocation_of(ctx: click.Context, *, own_format: bool = False) -> Invocation:
    """Combine the options of all levels, from ``labrun`` down to the command: the last one wins."""
    levels = [ctx]
    while levels[0].parent is not None:
        levels.insert(0, levels[0].parent)

    def given(name: str) -> Any:
        values = (level.params.get(name) for level in reversed(levels))
        return next((value for value in values if value is not None), None)

    words = [word for level in levels for word in level.params.get("verbosity") or ()]
    return Invocation(
        command=" ".join(str(level.info_name) for level in levels[1:]),
        lab=given("lab"),
        lab_variable=all(level.params.get("lab") is None for level in levels[1:])
        and levels[0].get_parameter_source("lab") is ParameterSource.ENVIRONMENT,
        allow_outside=bool(given("allow_outside")),
        hosts=given("hosts"),
        format="table" if own_format else given("format") or "table",
        workers=given("workers") or DEFAULT_WORKERS,
        chosen_workers=bool(given("workers")),
        timeout=given("timeout"),
        engine=given("engine") or BY_SIZE,
        yes=bool(given("yes")),
        verbosity=_verbosity(words or _words_of(os.environ)),
        color=not (given("no_color") or os.environ.get("NO_COLOR")),
        state_dir=given("state_dir"),
        fork=given("fork"),
        history=given("history"),
    )


def _words_of(environ: Mapping[str, str]) -> list[str]:
    """Read LABRUN_VERBOSE (a count, or any true word) and LABRUN_QUIET."""
    false = ("", "0", "false", "no", "off")
    if environ.get("LABRUN_QUIET", "").lower() not in false:
        return ["q"]
    verbose = environ.get("LABRUN_VERBOSE", "").lower()
    if verbose in false:
        return []
    return ["v"] * (2 if verbose.isdecimal() and verbose.lstrip("0") != "1" else 1)


def _verbosity(words: Iterable[str]) -> int:
    level = 0
    for word in words:
        step = -1 if word == "q" else 1
        level = level + step if level * step >= 0 else step
    return max(-2, min(level, 2))


def bound(params: Iterable[click.Parameter]) -> None:
    """Set bounds on every integer parameter that has none."""
    for param in params:
        if isinstance(param.type, click.IntRange):
            low, high = param.type.min, param.type.max
            param.type = BoundedRange(None if low is None else int(low), None if high is None else int(high))
        elif isinstance(param.type, click.types.IntParamType):
            param.type = BoundedNumber()


def format_option_sections(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Write a command's own options first, then the global ones."""
    sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Options of every command": []}
    for param in command.get_params(ctx):
        # Arguments are in the usage line already, but newer versions of click have a help record for them,
        # too.
        record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
        if record is not None:
            everywhere = isinstance(param, GlobalOption)
            sections["Options of every command" if everywhere else "Options"].append(record)
    for title, records in sections.items():
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
