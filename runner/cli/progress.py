"""Live progress on stderr: hosts and their stages on a terminal, otherwise one line a host at its end."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labrun.outcome import HYPERVISOR
from labrun.progress import LOGGER_NAME, Amount
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
_BAR, _SHORTEST_BAR = 20, 6  # columns


@dataclass(frozen=True, slots=True)
class _Row:
    stage: str
    detail: str
    since: float
    amount: Amount | None = None
    limit: float | None = None
    console: str = ""


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
        amount = getattr(record, "amount", None)
        if isinstance(amount, Amount) and amount.total and amount.unit != "%":
            detail = ", ".join(filter(None, (detail, f"{amount.total:.0f} {amount.unit}")))
        say(f"{elapsed:6.1f} s  {host}: {stage}{f' ({detail})' if detail else ''}")


class _Board(logging.Handler):
    """The hosts in progress, drawn by rich: as many as the terminal has lines for."""

    is_drawn = True

    def __init__(self, hosts: Sequence[str]) -> None:
        super().__init__(logging.INFO)
        self._begin = time.monotonic()
        self._hosts = frozenset(hosts)
        self._rows = {host: _Row("waiting", "", self._begin) for host in hosts}

    def emit(self, record: logging.LogRecord) -> None:
        host, stage, detail = _fields_of(record)
        # Handler.handle holds this handler's lock around emit; __rich_console__ takes the same one.
        known = self._rows.get(host)
        is_same = known is not None and known.stage == stage
        since = known.since if known is not None and is_same else time.monotonic()
        amount, limit = (getattr(record, name, None) for name in ("amount", "limit"))
        # A later report of the same stage, with how far it is, does not say its limit again.
        if known is not None and is_same and limit is None:
            limit = known.limit
        console = printable(str(getattr(record, "console", ""))).replace("\n", " ")
        self._rows[host] = _Row(stage, detail, since, amount, limit, console)

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
        shown = list(busy.items())[:room]
        # What machines say gets the lines that are left.
        spoken = {host for host, row in shown if row.console}
        spoken = set(sorted(spoken)[: room - len(shown)])
        begun = [(host, _words(row), _time(row, now)) for host, row in shown]
        widths = [max((len(cells[column]) for cells in begun), default=0) for column in range(3)]
        for cells, (host, row) in zip(begun, shown, strict=True):
            yield self._line(cells, widths, row, console.width, is_ascii=options.ascii_only)
            if host in spoken:
                yield _cut(("        console: " + row.console.strip(), "dim"))
        # What the hypervisor does is shown, but it is no host.
        hosts = self._hosts or rows.keys()
        waited = sum(host in hosts for host in busy)
        yield self._footer(len(hosts), waited, max(len(busy) - room, 0), now)

    @staticmethod
    def _line(
        cells: tuple[str, str, str], widths: Sequence[int], row: _Row, width: int, *, is_ascii: bool
    ) -> RenderableType:
        host, words, seconds = cells
        parts = [(f"{host:<{widths[0]}}  ", ""), (f"{words:<{widths[1]}}  ", "cyan")]
        parts += [(f"{seconds:>{widths[2]}}  ", "")]
        if row.amount is not None:
            # The bar gives way to numbers and words where the terminal is narrow.
            taken = sum(widths) + len(str(row.amount)) + len(row.detail) + 10
            bar = min(_BAR, width - taken)
            if row.amount.share is not None and bar >= _SHORTEST_BAR:
                full = round(row.amount.share * bar)
                done, left = ("#", "-") if is_ascii else ("━", "╌")
                parts += [(done * full, "green"), (left * (bar - full), "dim"), ("  ", "")]
            parts += [(f"{row.amount}  ", "")]
        return _cut(*parts, (row.detail, "dim"))

    def _footer(self, hosts: int, busy: int, hidden: int, now: float) -> RenderableType:
        from rich.text import Text

        more = f", {hidden} not shown" if hidden else ""
        return Text(f"{hosts - busy} of {hosts} finished{more}, {now - self._begin:.0f} s", style="bold")


def _words(row: _Row) -> str:
    return _WORDS.get(row.stage, row.stage)


def _time(row: _Row, now: float) -> str:
    return f"{now - row.since:.0f} s" if row.limit is None else f"{now - row.since:.0f} of {row.limit:.0f} s"


def _cut(*parts: tuple[str, str]) -> RenderableType:
    """Return one line of styled parts, which ends in an ellipsis where the terminal is too narrow."""
    from rich.text import Text

    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
