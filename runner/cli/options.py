"""The global options, valid before or after a command's name, and the invocation they result in."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from labrun.runner.cli.invocation import DEFAULT_WORKERS, Invocation

__all__ = [
    "MOST",
    "BoundedNumber",
    "GlobalOption",
    "bound",
    "format_option_sections",
    "global_options",
    "invocation_of",
]

MOST = 1_000_000
"""Bound on the absolute value of every numeric option, in seconds or items."""


class BoundedNumber(click.IntRange):
    """An integer small enough for every consumer (SQLite, a clock, the kernel)."""

    def __init__(self, low: int | None = None, high: int | None = None):
        super().__init__(low, high)
        if low is None and high is None:
            self.name = "integer"  # click's name for a type without a range

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, with a clear message for one that is out of bounds."""
        number = super().convert(value, param, ctx)
        if abs(number) > MOST:
            self.fail(f"{_shortened(number)} is {'more' if number > 0 else 'less'} than {MOST}.", param, ctx)
        return number


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


def _complete_lab(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _complete_hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from labrun.runner.cli.selection import complete_expression

    return complete_expression(ctx, incomplete)


_WORD = {"multiple": True, "allow_from_autoenv": False}
_FORMATS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    # Both set the same value and the later one wins. The option that reads the variable must come last.
    (
        ("--json", "format"),
        {"flag_value": "json", "allow_from_autoenv": False, "help": "The same as --format json."},
    ),
    (("--format",), {"type": click.Choice(["table", "json"]), "help": "Output format."}),
)
_BEFORE: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--lab",),
        {
            "metavar": "FILE",
            "shell_complete": _complete_lab,
            "help": "The lab file, - for stdin; by default lab.yaml, here or further up.",
        },
    ),
    (
        ("--allow-outside",),
        {"is_flag": True, "help": "Allow the lab file to read files outside its folder."},
    ),
    (("--hosts",), {"metavar": "A,B,@GROUP", "shell_complete": _complete_hosts, "help": "Only these hosts."}),
)
_AFTER: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--workers",),
        {
            "type": BoundedNumber(1),
            "metavar": "N",
            "help": f"Hosts to work on at the same time, by default {DEFAULT_WORKERS}.",
        },
    ),
    (("--timeout",), {"callback": _seconds, "metavar": "SECONDS", "help": "Time limit for each host."}),
    (("-y", "--yes"), {"is_flag": True, "help": "Do not ask for confirmation."}),
    (
        ("-v", "--verbose", "verbosity"),
        {"flag_value": "v", "help": "More output; -vv adds raw results and tracebacks.", **_WORD},
    ),
    (("-q", "--quiet", "verbosity"), {"flag_value": "q", "help": "Show only what is not ok.", **_WORD}),
    (("--no-color",), {"is_flag": True, "help": "No colours, as with NO_COLOR."}),
    (
        ("--state-dir",),
        {
            "type": click.Path(file_okay=False, path_type=Path),
            "metavar": "DIR",
            "help": "Where keys, known_hosts and history are kept.",
        },
    ),
    (
        ("--history",),
        {
            "type": click.Path(dir_okay=False, path_type=Path),
            "metavar": "FILE",
            "help": "History file; by default the lab's own in the state directory.",
        },
    ),
)


def global_options(*, top: bool = False, own_format: bool = False) -> list[click.Parameter]:
    """Return new option objects. Only those of the ``top`` level read ``LABRUN_*`` variables.

    ``own_format`` leaves out ``--format`` and ``--json``, for a command that has its own.
    """
    table = (*_BEFORE, *(() if own_format else _FORMATS), *_AFTER)
    # No default at any level: an omitted option must not override the value of another level.
    shared = {"default": None, "allow_from_autoenv": top}
    return [GlobalOption(names, **{**shared, **settings}) for names, settings in table]


_NAMES = (
    "lab",
    "allow_outside",
    "hosts",
    "format",
    "workers",
    "timeout",
    "yes",
    "no_color",
    "state_dir",
    "history",
)


def invocation_of(ctx: click.Context, *, own_format: bool = False) -> Invocation:
    """Combine the options of all levels, from ``labrun`` down to the command: the later wins."""
    chain = [ctx]
    while chain[0].parent is not None:
        chain.insert(0, chain[0].parent)
    given: dict[str, Any] = {}
    words: list[str] = []
    for level in chain:
        for name in _NAMES:
            value = level.params.get(name)
            if value is not None and not (name == "format" and own_format):
                given[name] = value
        words.extend(level.params.get("verbosity") or ())
    no_color = given.pop("no_color", False) or bool(os.environ.get("NO_COLOR"))
    command = " ".join(str(level.info_name) for level in chain[1:])
    verbosity = _verbosity(words or _words_of(os.environ))
    return Invocation(command=command, verbosity=verbosity, color=not no_color, **given)


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
        level = -1 if word == "q" else max(level, 0) + 1
    return min(level, 2)


def bound(params: Iterable[click.Parameter]) -> None:
    """Set bounds on every integer parameter that has none."""
    for param in params:
        if isinstance(param.type, click.IntRange):
            low, high = param.type.min, param.type.max
            param.type = BoundedNumber(None if low is None else int(low), None if high is None else int(high))
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
