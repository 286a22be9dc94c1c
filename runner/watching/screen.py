"""`labrun drift --watch`: the runs of a loop on a live screen, until q or Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from labrun.errors import LabrunError, UsageError
from labrun.outcome import Status
from labrun.runner.cli.document import reason_of
from labrun.runner.cli.invocation import Invocation, RunRecord
from labrun.runner.cli.report import INTERRUPTED, Report
from labrun.runner.cli.terminal import console_on
from labrun.runner.verb import Terminated
from labrun.runner.watching.board import Board, draw, with_run
from labrun.runner.watching.cadence import Cadence
from labrun.runner.watching.loop import fresh
from labrun.runner.watching.notify import DriftRun

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["watch"]

Run = Callable[[Invocation], DriftRun]
_REFRESH = 1  # per second: between two changes only the countdown to the next run moves
_WRONG_USAGE = 2


class _Screen:
    """The board as rich draws it on each refresh. The running thread replaces it as a whole."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        lines = draw(self.board, options.max_width, options.height or console.height, time.time())
        yield Text("\n").join(lines)


def watch(invocation: Invocation, run: Run, cadence: Cadence) -> Report:
    """Show runs at the cadence until q (exit code 0), Ctrl-C (130) or SIGTERM (0).

    The runs are not recorded in the history. Raises UsageError without a terminal, and the first run's
    error about a wrong command line or lab file.
    """
    if invocation.json or not sys.stdout.isatty():
        raise UsageError("--watch draws a screen on a terminal", hint="--every 15m prints each run instead")
    from rich.live import Live

    quiet = replace(invocation, verbosity=-1, recording=RunRecord())
    screen = _Screen(Board(""))
    console = console_on(sys.stdout, color=invocation.color)
    quit_asked, code = threading.Event(), 0
    try:
        with (
            _key("q", quit_asked),
            Live(
                screen, console=console, screen=True, refresh_per_second=_REFRESH, redirect_stdout=False
            ) as live,
        ):
            _show_runs(quiet, run, cadence, screen, live.refresh)
    except KeyboardInterrupt as signalled:
        code = getattr(signalled, "exit_code", INTERRUPTED)
    return Report(is_shown=True, code=0 if quit_asked.is_set() or code == Terminated.exit_code else code)


def _show_runs(
    invocation: Invocation, run: Run, cadence: Cadence, screen: _Screen, refresh: Callable[[], None]
) -> None:
    begun, number = time.monotonic(), 0
    while True:
        screen.board = replace(screen.board, due=None)
        refresh()
        screen.board = _after(screen.board, run, fresh(invocation), first=number == 0)
        number = cadence.after(number, time.monotonic() - begun)
        wait = max(cadence.due(number) - (time.monotonic() - begun), 0.0)
        screen.board = replace(screen.board, due=time.time() + wait)
        # A short wait may begin and end between two refreshes.
        refresh()
        threading.Event().wait(wait)


def _after(board: Board, run: Run, invocation: Invocation, *, first: bool) -> Board:
    """Return the board after one more run, whatever its result."""
    messages = io.StringIO()
    try:
        # Output on stderr would be written across the screen.
        with contextlib.redirect_stderr(messages):
            drift = run(invocation)
    except LabrunError as error:
        if first and error.exit_code == _WRONG_USAGE:
            raise
        return replace(board, trouble=reason_of(error))
    invocation.interruption.end()
    report = drift.report
    board = replace(board, lab=report.lab_name or board.lab)
    if report.error is not None:
        return replace(board, trouble=reason_of(report.error))
    rows = list(report.outcomes)
    if rows and all(row.status is Status.SKIPPED and row.section == "drift" for row in rows):
        return replace(board, trouble=rows[0].why or "")
    board = with_run(board, rows, drift.changes, ended=time.time(), seconds=invocation.seconds)
    return replace(board, trouble=messages.getvalue().strip())


@contextmanager
def _key(key: str, quit_asked: threading.Event) -> Iterator[None]:
    """Set ``asked`` and interrupt the main thread when the key is pressed. Do nothing without a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    stop, stopped = os.pipe()

    def read() -> None:
        while True:
            ready, _, _ = select.select([descriptor, stop], [], [])
            if stop in ready:
                return
            pressed = os.read(descriptor, 64)
            if not pressed or key.encode() in pressed.lower():
                quit_asked.set()
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return

    thread = threading.Thread(target=read, daemon=True)
    tty.setcbreak(descriptor)
    thread.start()
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        os.close(stopped)
        thread.join(1.0)
        os.close(stop)
