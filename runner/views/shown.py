"""What a command with a scene writes to stdout: its screen, or every row with -v, and the summary line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from labrun.outcome import Outcome, Status
from labrun.runner.cli.scene import Scene
from labrun.runner.cli.terminal import Screen, height_of, printable, screen_on
from labrun.runner.views.cause_text import cause_lines
from labrun.runner.views.causes import causes
from labrun.runner.views.changes import CHANGES, change_lines
from labrun.runner.views.columns import coloured, folded
from labrun.runner.views.matrix import path_of
from labrun.runner.views.overview import Overview, overview
from labrun.runner.views.screen import counted, screen_lines, title
from labrun.runner.views.status_look import look
from labrun.runner.views.table import diffs, table

__all__ = ["shown"]

SILENT = -2
"""The verbosity of ``-qq``: nothing but errors."""


def shown(
    scene: Scene,
    rows: Sequence[Outcome],
    *,
    stream: IO[str],
    color: bool = True,
    verbosity: int = 0,
    diff: bool = False,
    asked: str = "",
    notes: Sequence[str] = (),
    seconds: float = 0.0,
    command: str = "verify",
    width: int | None = None,
    height: int | None = None,
) -> str:
    """Return everything in its order; what matters stands last.

    ``verbosity`` is the invocation's: with -1 the failures, what was ``asked`` for and the summary line are
    left, with -2 nothing. ``diff`` adds the rows' diffs, ``notes`` come with every row. ``width`` and
    ``height`` are the stream's by default.
    """
    if verbosity <= SILENT:
        return ""
    screen = screen_on(stream, color=color, width=width)
    quiet, every = verbosity < 0, verbosity > 0
    whole = overview(scene.hosts, rows, scene.existing)
    end = _summary(scene, whole, seconds, command, screen, every=every, quiet=quiet)
    follows = scene.next if stream.isatty() and not quiet else ""
    room = (height or height_of(stream)) - len(end) - bool(follows) - 2 - 2 * bool(scene.first)
    lines: list[str] = []
    if every:
        lines += [] if scene.changes else [title(scene, screen), ""]
        lines += table(rows, screen).splitlines() if rows else []
    if diff:
        lines += diffs(rows, screen).splitlines()
    if scene.first and not quiet:
        lines = [printable(scene.first), "", *lines]
    lines += [*asked.rstrip("\n").split("\n"), ""] if asked else []
    if every:
        lines += [*map(printable, notes), ""] if notes else []
    if every or scene.changes or asked:
        lines += _below(scene, rows, screen, room, quiet=quiet, every=every)
    else:
        changed = [] if quiet else change_lines(rows, screen, room // 2)
        lines += [*changed, ""] if changed else []
        lines += screen_lines(scene, rows, screen, room - len(changed), quiet=quiet)
    if lines and lines[-1] and not (whole.is_well and not scene.changes):
        lines.append("")
    lines += end
    if follows:
        lines.append(coloured(f"next: {follows}", "dim", screen))
    return "".join(f"{line}\n" for line in lines)


def _below(
    scene: Scene, rows: Sequence[Outcome], screen: Screen, room: int, *, quiet: bool, every: bool
) -> list[str]:
    """Return the changes, unless every row is shown, and the causes of what is wrong."""
    verified = any(path_of(row) is not None for row in rows)
    told = (row for row in rows if not (scene.changes and row.status in CHANGES))
    found = causes(told, scene.existing)
    wrong = cause_lines(found, scene.details, screen, room, remedies=not scene.changes or verified)
    if not scene.changes or quiet or every:
        return wrong
    changed = change_lines(rows, screen, max(room - len(wrong) - 1, 3), skipped=True)
    return [*changed, *([""] if changed and wrong else []), *wrong]


def _summary(
    scene: Scene,
    whole: Overview,
    seconds: float,
    command: str,
    screen: Screen,
    *,
    every: bool,
    quiet: bool,
) -> list[str]:
    looks = [look(Status.OK), *(look(status) for status, count in whole.counts.items() if count)]
    worst = min(looks, key=lambda each: each.rank)
    text = counted(whole, seconds, changes=scene.changes)
    dot = "\N{MIDDLE DOT}" if screen.encodes("\N{MIDDLE DOT}") else "-"
    more = ""
    if not scene.changes and whole.is_well and whole.counts:
        more = f"  ({whole.breakdown()})"
    elif not (whole.is_well or every or quiet):
        more = f" {dot} every row: labrun {command} -v"
        more = more if len(text + more) <= screen.width else f" {dot} every row: -v"
    first, *others = folded(text + more, screen.width)
    return [coloured(line, worst.style, screen) for line in (first, *others)]
