"""Call a command of labrun from Python: its rows in place of a table, and nothing printed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from labrun.hypervisor import leave_network
from labrun.libvirt_calls import begin
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.options import GlobalOption
from labrun.runner.cli.report import Report
from labrun.runner.verb import VerbCommand

__all__ = ["called", "in_lab_network"]

_turn = threading.RLock()


@contextmanager
def in_lab_network(invocation: Invocation) -> Iterator[None]:
    """Let one command at a time work, and put this thread back into its own network afterwards.

    A command enters the network namespace of libvirtd, where that has one of its own.
    """
    with _turn:
        begin(invocation.timeout)
        try:
            yield
        finally:
            leave_network()


def called(command: VerbCommand, invocation: Invocation, **given: Any) -> Report:
    """Return the report of a command with these options, all others at their defaults, and record the run.

    Environment variables of options have no effect. Raises what the command does: a LabrunError, and
    KeyboardInterrupt.
    """
    options = {str(each.name): _default(command, each) for each in command.params if _is_own(each)}
    unknown = given.keys() - options.keys()
    if unknown:
        raise TypeError(f"{command.name} has no option {', '.join(sorted(unknown))}")
    with in_lab_network(invocation):
        report = command.body(invocation, **{**options, **given})
        invocation.recording.finish(report, invocation.seconds)
    # A command that only reads returns the rows so far.
    invocation.interruption.end()
    return report


def _is_own(param: click.Parameter) -> bool:
    return not isinstance(param, GlobalOption)


def _default(command: click.Command, param: click.Parameter) -> Any:
    ctx = click.Context(command, info_name=command.name)
    value = param.get_default(ctx)
    if param.multiple or param.nargs == -1:
        return value if isinstance(value, tuple) else ()
    # Newer versions of click have an object of their own for "no default".
    return value if isinstance(value, bool | int | float | str) else None
