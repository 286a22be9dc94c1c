"""The command ``labrun``: a table of command names and one-line help, each module imported on demand."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click

from labrun import __version__
from labrun.deferred_packages import defer, defer_metadata
from labrun.errors import UsageError
from labrun.libvirt_calls import end_blocked, is_blocked
from labrun.runner.cli.invocation import Format, Invocation
from labrun.runner.cli.options import format_option_sections, global_options
from labrun.runner.cli.report import INTERRUPTED, Report
from labrun.runner.cli.terminal import say, use_lossy_streams
from labrun.runner.commands import VERBS
from labrun.runner.showing import emit
from labrun.runner.verb import Terminated, VerbCommand
from labrun.state_folders import give_a_home

__all__ = ["VERBS", "cli", "main", "run"]

_WIDEST_NAME = max(map(len, VERBS))
_GARBAGE = 200_000  # objects that may pile up before the garbage collector runs


def _suggestion(name: str) -> str:
    """Return what to type for an unknown command: labrun's word for it, or the nearest name."""
    import difflib  # takes 5 ms, worth it only after a typo

    from labrun.runner.cli.help_groups import ELSEWHERE

    nearest = difflib.get_close_matches(name, VERBS, n=1)
    meant = ELSEWHERE.get(name.lower(), tuple(nearest))
    words = " or ".join(f'"{word}"' for word in meant)
    return f" (did you mean {words}?)" if meant else ""


class LazyGroup(click.Group):
    """A group that imports no command module for ``--help``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of a lab's life cycle."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module. Return None for an unknown name."""
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command = getattr(import_module(f"labrun.runner.commands.{module}"), attribute or "command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the command, and suggest the nearest one for an unknown name."""
        if args and args[0] in ("help", "version"):
            return self._word_for_option(ctx, args)
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f'unknown command "{args[0]}"{_suggestion(args[0])}')
        return super().resolve_command(ctx, args)

    def _word_for_option(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve ``help [COMMAND..]`` and ``version``, other spellings of ``--help`` and ``--version``."""
        word, *path = args
        if ctx.resilient_parsing:  # completion: what follows `help` are this group's commands
            return None, None, []
        if word == "help" and path:
            return self.resolve_command(ctx, [*path, "--help"])
        if path:
            ctx.fail(f'unexpected argument "{path[0]}" after version')
        click.echo(ctx.get_help() if word == "help" else f"labrun {__version__}")
        raise click.exceptions.Exit(0)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        format_option_sections(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of :data:`VERBS` under the headings of :data:`GROUPS`."""
        from labrun.runner.cli.help_groups import GROUPS

        rest = tuple(name for name in VERBS if not any(name in names for names in GROUPS.values()))
        for title, names in {**GROUPS, "Further commands": rest}.items():
            # Padded, so that the descriptions of all groups begin in one column.
            lines = [(name.ljust(_WIDEST_NAME), VERBS[name][1]) for name in names if name in VERBS]
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the note on options and variables, and the examples last."""
        from labrun.runner.cli.help_examples import format_examples

        super().format_epilog(ctx, formatter)
        format_examples(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete commands from :data:`VERBS`, options as click does."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=line) for name, (_, line) in VERBS.items()]
        commands = [item for item in names if str(item.value).startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=LazyGroup,
    params=global_options(top=True),
    no_args_is_help=False,
    context_settings={
        "auto_envvar_prefix": "LABRUN",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    epilog="Options of every command can be given before or after its name; the last one wins. Environment "
    "variables set them too: LABRUN_LAB, LABRUN_FORMAT and so on, LABRUN_COMMAND_OPTION for a command's own.",
)
@click.version_option(__version__, "-V", "--version", prog_name="labrun", message="%(prog)s %(version)s")
def cli(**_params: Any) -> None:
    """One lab.yaml in, a real network lab out: provisioned, configured, verified."""


def run(args: Sequence[str]) -> int:
    """Run a command line and return the exit code."""
    if "_LABRUN_COMPLETE" in os.environ:
        from labrun.runner.cli.shells import use_own_shells

        use_own_shells()
    elif not args:
        with cli.make_context("labrun", [], resilient_parsing=True) as ctx:
            say(cli.get_help(ctx))
        return 2
    try:
        with _termination_raises():
            result = cli.main(list(args), prog_name="labrun", standalone_mode=False)
    except click.UsageError as error:
        return _usage_error(error, args)
    except click.ClickException as error:
        return _fail(UsageError(error.format_message()), args, error.ctx if hasattr(error, "ctx") else None)
    except OSError as error:  # from click's own output: help, version, completion
        say(f"error: cannot write: {error.strerror}")
        return 1
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _usage_error(error: click.UsageError, args: Sequence[str]) -> int:
    path = error.ctx.command_path if error.ctx else "labrun"
    if isinstance(error, click.NoSuchOption):
        message = f'unknown option "{error.option_name}"{_option_meant(error)}'
    else:
        message = error.format_message().strip().rstrip(".") + _origin(error)
    return _fail(UsageError(message, hint=f"{path} --help shows its usage"), args, error.ctx)


def _option_meant(error: click.NoSuchOption) -> str:
    """Return the option that was meant: one that begins like the unknown one before one that resembles it."""
    typed = error.option_name
    near = sorted(error.possibilities or (), key=lambda name: not name.startswith(typed))
    return f' (did you mean "{near[0]}"?)' if near else ""


def _origin(error: click.UsageError) -> str:
    """Return a note if the value came from the environment, where the command line does not show it."""
    ctx, param = error.ctx, getattr(error, "param", None)
    if ctx is None or param is None or not param.name:
        return ""
    if ctx.get_parameter_source(param.name) is not click.core.ParameterSource.ENVIRONMENT:
        return ""
    variable = param.envvar if isinstance(param.envvar, str) else f"LABRUN_{param.name.upper()}"
    return f" (from {variable})"


def _fail(error: UsageError, args: Sequence[str], ctx: click.Context | None) -> int:
    # labrun itself is not in the table of commands.
    command = " ".join(ctx.command_path.split()[1:]) if ctx else ""
    return emit(Report(error=error), Invocation(command, format=wanted_format(args, os.environ, ctx)))


def wanted_format(
    args: Sequence[str], environ: Mapping[str, str], ctx: click.Context | None = None
) -> Format:
    """Return what ``--format`` asks for on a command line that cannot be parsed.

    A command with its own ``--format`` ignores the global one and prints errors as text.
    """
    if ctx is not None and isinstance(ctx.command, VerbCommand) and ctx.command.own_format:
        return "table"
    format_ = environ.get("LABRUN_FORMAT", "table")
    for word, following in zip(args, [*args[1:], ""], strict=True):
        if word == "--":
            break
        if word == "--json":
            format_ = "json"
        elif word == "--format":
            format_ = following
        elif word.startswith("--format="):
            format_ = word.removeprefix("--format=")
    return "json" if format_ == "json" else "github" if format_ == "github" else "table"


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Make SIGTERM end a command the way Ctrl-C does, so that terminals and locks are cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _be_brief() -> None:
    """Skip work that only a long-lived process needs. It would be a quarter of the cost of an empty run."""
    # Importing creates half a million permanent objects, and the collector would scan them repeatedly.
    gc.set_threshold(_GARBAGE)
    # paramiko tries to import invoke, and with it asyncio, for `Match exec` in a file that labrun never
    # reads.
    sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]
    # Nornir reads its own version from its package's metadata, imports a YAML library for a file that labrun
    # does not have, and looks for plugins that labrun does not need.
    for package in ("nornir", "ruamel.yaml"):
        defer(package)
    defer_metadata()


def _leave(code: int) -> NoReturn:
    """End the process while a thread waits in libvirt for an answer: nothing of Python's may wait for it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    end_blocked()
    os._exit(code)


def main() -> None:
    """Run this process's command line. Never return."""
    _be_brief()
    give_a_home()
    use_lossy_streams()
    code = run(sys.argv[1:])
    if is_blocked():
        _leave(code)
    # The process exits now; a last scan for cycles would take 0.07 s.
    gc.freeze()
    sys.exit(code)
