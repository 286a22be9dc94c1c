"""Turn functions into commands: add options, show the report, map errors to exit codes."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from labrun.errors import LabrunError, UsageError
from labrun.hypervisor import as_hypervisor_error
from labrun.libvirt_calls import begin
from labrun.outcome import Outcome
from labrun.runner.cli.interruption import with_missing
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.options import bound, format_option_sections, global_options, invocation_of
from labrun.runner.cli.outputs import is_stdout
from labrun.runner.cli.report import Report
from labrun.runner.showing import emit, show_error

__all__ = ["Terminated", "VerbCommand", "VerbGroup", "perform", "verb"]


_ASIDE = ("explain", "offline", "hint", "pair")
"""Options with which a command only explains something, so that the run is not recorded."""


_WHOLE = 1000  # characters of a description: all


class Terminated(KeyboardInterrupt):
    """Report SIGTERM; it ends the command like Ctrl-C, with another exit code."""

    exit_code = 143


class _OwnErrors(click.Command):
    """A command to which all errors of reading its options belong; click says it of some only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise


class VerbCommand(_OwnErrors):
    """A command with the global options; ``own_format`` = all but ``--format``.

    ``recorded`` means that its runs are kept in the lab's history. ``body`` is the function behind it.
    """

    own_format = False
    recorded = False
    body: Callable[..., Report]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's options and the global ones in separate sections."""
        format_option_sections(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples last: a terminal shows the end of a long text."""
        _format_examples(ctx, formatter)


class VerbGroup(_OwnErrors, click.Group):
    """A command with subcommands (``image build``). Global options are accepted at each level."""

    def __init__(self, name: str, help: str):
        super().__init__(name, help=help, params=global_options())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write options in two sections, then the subcommands."""
        format_option_sections(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of subcommands; click would cut their descriptions off to fit one line."""
        with formatter.section("Commands"):
            commands = sorted(self.commands.items())
            formatter.write_dl([(name, command.get_short_help_str(_WHOLE)) for name, command in commands])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples last."""
        _format_examples(ctx, formatter)


def _format_examples(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    from labrun.runner.cli.help_examples import format_examples  # only --help needs them

    format_examples(ctx, formatter)


def verb(
    name: str,
    *,
    own_format: bool = False,
    passthrough: bool = False,
    recorded: bool = False,
    kind: type[VerbCommand] = VerbCommand,
    group: click.Group | None = None,
    concealed: Sequence[str] = (),
) -> Callable[[Callable[..., Report]], VerbCommand]:
    """Turn a function ``(invocation, **its parameters) -> Report`` into a command.

    Its docstring is the help, the first line the one-line help. Parameters are added below the decorator by
    ``click.option`` and ``click.argument``. ``passthrough`` leaves everything after the first argument to
    the command (``exec``, ``ssh``); ``recorded`` keeps its runs in the lab's history; ``kind`` is the class
    of the command; ``group`` is the :class:`VerbGroup` it belongs to; ``concealed`` are the parameters whose
    values the history does not tell.
    """

    def wrap(body: Callable[..., Report]) -> VerbCommand:
        params = list(reversed(getattr(body, "__click_params__", [])))
        names = {param.name for param in params}
        bound(params)
        _name_variables(params, *([str(group.name)] if group is not None else []), name)

        def callback(**_params: Any) -> int:
            from labrun.runner.cli.logs import log_to_stderr

            ctx = click.get_current_context()
            invocation = invocation_of(ctx, own_format=own_format)
            arguments = {name: value for name, value in ctx.params.items() if name in names}
            is_aside = any(arguments.get(aside) for aside in _ASIDE)
            if recorded and not is_aside:
                from labrun.runner.history.recording import Recording

                defaults = {
                    name for name in names if ctx.get_parameter_source(name) is ParameterSource.DEFAULT
                }
                given = {
                    name: name.upper() if name in concealed and value is not None else value
                    for name, value in arguments.items()
                    if name not in defaults
                }
                recording = Recording(_as_typed(params, given, invocation))
                invocation = replace(invocation, recording=recording)

            run = partial(body, invocation, **arguments)
            if invocation.fork is not None:
                invocation, run = _in_fork(invocation, body, arguments)
            if (error := _two_documents(params, arguments, invocation)) is not None:
                run = partial(Report, error=error)
            with log_to_stderr(invocation):
                return perform(invocation, run, is_summarised=not is_aside)

        command = kind(
            name,
            callback=callback,
            params=[*params, *global_options(own_format=own_format)],
            help=body.__doc__,
            context_settings={"allow_interspersed_args": False} if passthrough else None,
        )
        command.own_format = own_format
        command.recorded = recorded
        command.body = body
        if group is not None:
            group.add_command(command)
        return command

    return wrap


def _in_fork(
    invocation: Invocation, body: Callable[..., Report], arguments: Mapping[str, object]
) -> tuple[Invocation, partial[Report]]:
    """Return the invocation in its fork, and the command's body; one that fails if it cannot enter."""
    from labrun.runner.engine.forks import in_fork

    try:
        inside = in_fork(invocation)
    except LabrunError as error:
        return invocation, partial(Report, error=error)
    return inside, partial(body, inside, **arguments)


def _two_documents(
    params: Sequence[click.Parameter], arguments: Mapping[str, object], invocation: Invocation
) -> UsageError | None:
    """Return the error for two documents that would both go to stdout, None if there is at most one."""
    options = [f"{param.opts[0]} -" for param in params if is_stdout(arguments.get(str(param.name)))]
    if invocation.format != "table":
        options.append("--json" if invocation.json else f"--format {invocation.format}")
    if len(options) < 2:
        return None
    return UsageError(f"{options[0]} and {options[1]} both write to stdout", hint="name a file")


def _as_typed(params: Sequence[click.Parameter], values: Mapping[str, object], invocation: Invocation) -> str:
    """Return the command's arguments, and --hosts, as one line of shell, without defaults."""
    words = [] if invocation.hosts is None else ["--hosts", invocation.hosts]
    for param in params:
        value = values.get(str(param.name))
        if value is None or value is False or value == ():
            continue
        if isinstance(param, click.Option):
            words.append(_long(param))
        if value is not True:
            words += map(str, value if isinstance(value, tuple) else (value,))
    return shlex.join(words)


def _name_variables(params: Sequence[click.Parameter], *path: str) -> None:
    """Make each option read ``LABRUN_<COMMAND>_<OPTION>``, whatever the name of its parameter."""
    for param in params:
        if isinstance(param, click.Option) and param.envvar is None:
            words = ["labrun", *path, _long(param).lstrip("-")]
            param.envvar = "_".join(words).upper().replace("-", "_")
            param.allow_from_autoenv = False


def _long(option: click.Option) -> str:
    """Return the option's first long name, by which variables and the history call it."""
    return next((word for word in option.opts if word.startswith("--")), option.opts[0])


def perform(
    invocation: Invocation,
    body: Callable[[], Report],
    *,
    one_line: bool = False,
    is_summarised: bool = False,
) -> int:
    """Run a command's body, show its report or error, and return the exit code.

    ``one_line`` as for :func:`emit`. With ``is_summarised`` a CI job's summary gets the run, too.
    """
    begin(invocation.timeout)
    try:
        report = body()
    except LabrunError as error:
        report = Report(error=error)
    except KeyboardInterrupt as signal:
        rows = _so_far(signal, invocation)
        lab, code = invocation.interruption.lab, getattr(signal, "exit_code", None)
        report = Report(lab, rows, interrupted=True, code=code)
    except BrokenPipeError:
        report = Report(error=LabrunError("the reader of the output has closed it"))
    except Exception as error:  # noqa: BLE001 - the last resort: a short reason, the traceback only with -vv
        report = Report(error=as_hypervisor_error(error) or _unexpected(error))
    if invocation.interruption.came and not report.is_shown:
        report = replace(report, interrupted=True, code=invocation.interruption.exit_code)
    # Before the results are shown: a reader of the run's ID may look it up at once.
    invocation.recording.finish(report, invocation.seconds)
    if is_summarised and "GITHUB_STEP_SUMMARY" in os.environ:
        from labrun.runner.views.job_summary import SUMMARISED, add_job_summary

        if invocation.command in SUMMARISED:
            add_job_summary(report, invocation)
    try:
        return emit(report, invocation, one_line=one_line)
    except LabrunError as error:
        show_error(error, invocation)
        return error.exit_code


def _so_far(signal: KeyboardInterrupt, invocation: Invocation) -> Sequence[Outcome]:
    """Return the rows of an interrupted run, with a row for every selected host."""
    partial = getattr(signal, "partial", None)
    rows: Sequence[Outcome] = ()
    if partial is not None:
        from labrun.runner.engine.nornir import outcomes_of

        # A task that collects raw material has no rows until it is judged.
        with contextlib.suppress(TypeError):
            rows = outcomes_of(partial, invocation.command)
    return with_missing(rows, invocation.interruption.hosts, invocation.command)


def _unexpected(error: Exception) -> LabrunError:
    text = str(error).strip()
    wrapped = LabrunError(
        f"unexpected {type(error).__name__}{f': {text}' if text else ''}",
        hint="this is a bug in labrun; the same command with -vv shows where",
    )
    wrapped.__cause__ = error
    return wrapped
