"""What a host logged about a change, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labrun.moments import clock
from labrun.runner.cli.terminal import printable
from labrun.runner.commands.drift.earlier import how_long

if TYPE_CHECKING:
    from labrun.tasks.drift.journal import Line, Logged

__all__ = ["log_line", "log_lines"]


def log_lines(host: str, log: Logged) -> list[str]:
    """Return everything that is known of a host's log, below a line that says since when."""
    since = f" since {clock(log.since)}" if log.since else ""
    if log.ahead:
        since += f" (its clock is {how_long(abs(log.ahead))} {'ahead' if log.ahead > 0 else 'behind'})"
    if not log.lines:
        return [f"{host} logged nothing about it{since}"]
    head = f"{host} logged{since}:" if not log.left_out else f"{host} logged{since}, the last lines:"
    return [head, *(f"    {log_line(line)}" for line in log.lines)]


def log_line(line: Line) -> str:
    """Return one entry: when, by whom, and its text; marked if it is labrun's own doing."""
    mark = " (labrun)" if line.labrun and line.source != "labrun" else ""
    return f"{clock(line.time)} {line.source}{mark}: {printable(line.text.strip())}"
