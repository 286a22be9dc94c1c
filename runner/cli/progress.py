"""Live progress on stderr: hosts and their stages on a terminal, otherwise one line a host at its end."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labrun.outcome import HYPERVISOR
from labrun.progress import LOGGER_NAME
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.terminal import console_on, printable, say

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.live import Live

__all__ = ["FINISHED", "paused", "progress"]

FINISHED = frozenset({"done", "ready", "ok", "changed", "skipped", "failed", "unreachable", "unknown"})
"""Stages after which a host is not waited for any more."""
_EXPECTED = frozenset(
    {
        *("queued", "waiting", "connecting", "collecting", "reading", "log", "asking"),
        *("gather", "apply", "confirm", "running", "create", "update", "restart", "start", "recreate"),
        *("defined", "started", "address", "ssh", "inside", "cloud-init", "starting", "removing"),
    }
)
"""Stages that every host goes through on its way; without a terminal they are left out."""
_WORDS = {
    "address": "waiting for an address",
    "ssh": "waiting for SSH",
    "cloud-init": "waiting for cloud-init",
    "confirm": "confirming over a new login",
    "gather": "reading",
    "apply": "applying",
    "create": "creating",
    "inside": "looking inside",
}
_shown: list[Live] = []  # the current display; at most one
_REFRESH = 4  # per second: more would take CPU time from the guests of a small machine


@dataclass(frozen=True, slots=True)
class _Row:
    stage: str
    detail: str
    since: float


@contextmanager
def progress(hosts: Sequence[str], invocation: Invocation) -> Iterator[None]:
    """Show the reports of :func:`labrun.progress.report` for the duration of the block.

    ``hosts`` are shown from the start; others join with their first report. Nothing is shown with ``-q``,
    nor with ``--json`` if stderr is not a terminal.
    """
    terminal = sys.stderr.isatty()
    if invocation.quiet or (invocation.json and not terminal):
        yield
        return
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(logging.INFO)
    if not terminal:
        plain = _Lines(every=invocation.verbosity > 0)
        with _attached(logger, plain):
            yield
        return
    from rich.live import Live

    console = console_on(sys.stderr, color=invocation.color)
    board = _Board(hosts)
    live = Live(
        board,
        console=console,
        refresh_per_second=_REFRESH,
        transient=True,
        # stdout is for results. Output written there must not end up on stderr.
        redirect_stdout=False,
    )
    with _attached(logger, board), live:
        _shown.append(live)
        try:
            yield
        finally:
            _shown.remove(live)


@contextmanager
def paused() -> Iterator[None]:
    """Hide the live display for the duration of the block, so that a question can be asked."""
    for live in _shown:
        live.stop()
    try:
        yield
    finally:
        for live in _shown:
            live.start(refresh=True)


@contextmanager
def _attached(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _fields_of(record: logging.LogRecord) -> tuple[str, str, str]:
    values = (getattr(record, name, "") for name in ("host", "stage", "detail"))
    host, stage, detail = (printable(str(value)).replace("\n", " ") for value in values)
    return host, stage, detail


class _Lines(logging.Handler):
    """One line for each host that is finished, and for each stage that is not as usual.

    With ``every``, one for each stage that a host enters. More details of the same stage are left out.
    """

    def __init__(self, *, every: bool = False) -> None:
        super().__init__(logging.INFO)
        self._every = every
        self._begin = time.monotonic()
        self._stages: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        host, stage, detail = _fields_of(record)
        before = self._stages.get(host)
        # A task that reported how it ended needs no further "done".
        if before == stage or (stage == "done" and before in FINISHED):
            return
        self._stages[host] = stage
        if stage in _EXPECTED and host != HYPERVISOR and not self._every:
            return
        elapsed = time.monotonic() - self._begin
        say(f"{elapsed:6.1f} s  {host}: {stage}{f' ({detail})' if detail else ''}")


class _Board(logging.Handler):
    """The hosts in progress, drawn by rich: as many as the terminal has lines for."""

    def __init__(self, hosts: Sequence[str]) -> None:
        super().__init__(logging.INFO)
        self._begin = time.monotonic()
        self._hosts = frozenset(hosts)
        self._rows = {host: _Row("waiting", "", self._begin) for host in hosts}

    def emit(self, record: logging.LogRecord) -> None:
        host, stage, detail = _fields_of(record)
        # Handler.handle holds this handler's lock around emit; __rich_console__ takes the same one.
        known = self._rows.get(host)
        if known is not None and known.stage == stage:
            self._rows[host] = replace(known, detail=detail)
        else:
            self._rows[host] = _Row(stage, detail, time.monotonic())

    def _snapshot(self) -> dict[str, _Row]:
        self.acquire()
        try:
            return dict(self._rows)
        finally:
            self.release()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now, rows = time.monotonic(), self._snapshot()
        busy = {host: row for host, row in rows.items() if row.stage not in FINISHED}
        room = max(console.height - 3, 1)
        yield self._table(dict(list(busy.items())[:room]), now)
        # What the hypervisor does is shown, but it is no host.
        hosts = self._hosts or rows.keys()
        waited = sum(host in hosts for host in busy)
        yield self._footer(len(hosts), waited, max(len(busy) - room, 0), now)

    @staticmethod
    def _table(rows: dict[str, _Row], now: float) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        for settings in ({}, {"style": "cyan"}, {"justify": "right"}, {"style": "dim"}):
            table.add_column(no_wrap=True, overflow="ellipsis", **settings)  # type: ignore[arg-type]
        for host, row in rows.items():
            seconds = f"{now - row.since:.0f} s"
            table.add_row(Text(host), Text(_WORDS.get(row.stage, row.stage)), Text(seconds), Text(row.detail))
        return table

    def _footer(self, hosts: int, busy: int, hidden: int, now: float) -> RenderableType:
        from rich.text import Text

        more = f", {hidden} not shown" if hidden else ""
        return Text(f"{hosts - busy} of {hosts} finished{more}, {now - self._begin:.0f} s", style="bold")
