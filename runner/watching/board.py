"""The screen of `drift --watch`, drawn from values: hosts by section, and the latest changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labrun.moments import time_of_day
from labrun.outcome import Outcome, Status
from labrun.runner.cli.terminal import printable
from labrun.runner.views.cause_text import breaks, headline
from labrun.runner.views.causes import causes
from labrun.runner.views.status_look import LOOKS, StatusLook, look
from labrun.runner.views.table import summary
from labrun.runner.watching.grid import Parts, grid_lines
from labrun.runner.watching.state import FINE, Change, Key

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["Board", "SeenChange", "draw", "with_run"]

_KEPT = 200  # maximum number of changes kept


@dataclass(frozen=True, slots=True)
class SeenChange:
    """A verdict that changed, and when the change was seen (seconds since the epoch)."""

    at: float
    host: str
    section: str
    name: str
    before: Status | None
    after: Status | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """The content of the screen; times in seconds since the epoch, ``due`` None during a run.

    ``rows`` are those of the last run that compared something, ``changes`` the newest first. ``trouble`` is
    the reason why a later run could not compare.
    """

    lab: str
    rows: Sequence[Outcome] = ()
    ended: float | None = None
    seconds: float = 0.0
    due: float | None = None
    changes: Sequence[SeenChange] = ()
    trouble: str = ""


def with_run(
    board: Board,
    rows: Sequence[Outcome],
    changes: Sequence[Change],
    *,
    ended: float,
    seconds: float,
) -> Board:
    """Return the board after a run."""
    by_key = {(row.host, row.section, row.name): row for row in rows}
    new = [_seen_change(change, by_key, ended) for change in changes]
    kept = tuple([*new, *board.changes][:_KEPT])
    return replace(board, rows=rows, changes=kept, ended=ended, seconds=seconds, trouble="")


def _seen_change(change: Change, rows: Mapping[Key, Outcome], at: float) -> SeenChange:
    row = rows.get(change.key)
    detail = ""
    if row is not None and row.status not in FINE:
        detail = row.why or (f"expected {row.expected}, got {row.actual}" if row.expected else "")
    return SeenChange(at, *change.key, change.before, change.after, detail)


def draw(board: Board, width: int, height: int, now: float) -> list[Text]:
    """Return at most ``height`` lines for the screen, none wider than ``width``."""
    head = [_title(board, width), _state(board, width, now)]
    foot = [_legend(board, width)]
    room = max(height - len(head) - len(foot) - 1, 2)
    # Changes, if there are any, get a third of the lines, plus those that the grid does not need.
    changed = min(len(board.changes) + 1, max(room // 3, 2)) if board.changes else 0
    times = {change.host: time_of_day(change.at) for change in reversed(board.changes)}
    causes = _causes(board, width, room // 3)
    left = room - changed - len(causes)
    grid = [_text(*parts, width=width) for parts in grid_lines(board.rows, times, width, left)]
    body = [*head, _text(""), *causes, *grid, *_changes(board, width, room - len(grid) - len(causes))]
    filler = [_text("") for _ in range(max(height - len(body) - len(foot), 0))]
    return [*body, *filler, *foot][:height]


def _text(*parts: str | tuple[str, str], width: int | None = None) -> Text:
    from rich.text import Text

    plain = [_one_line(part) if isinstance(part, str) else (_one_line(part[0]), part[1]) for part in parts]
    line = Text.assemble(*plain, no_wrap=True, end="")
    if width is not None:
        line.truncate(width, overflow="ellipsis")
    return line


def _one_line(text: str) -> str:
    return printable(text).replace("\n", " ")


def _title(board: Board, width: int) -> Text:
    counts = summary(board.rows, board.seconds).rpartition(" in ")[0] if board.ended is not None else ""
    return _text((f"{board.lab}  ", "bold"), counts, width=width)


def _state(board: Board, width: int, now: float) -> Text:
    last = "" if board.ended is None else f"{time_of_day(board.ended)}, {board.seconds:.1f} s; "
    following = "comparing ..." if board.due is None else f"next in {max(board.due - now, 0):.0f} s"
    trouble = board.trouble
    return _text(f"{last}{following}", (f"  {trouble}" if trouble else "", "bold red"), width=width)


def _legend(board: Board, width: int) -> Text:
    present = {row.status for row in board.rows}
    signs: dict[str, StatusLook] = {}
    for status_look in LOOKS.values():
        if not status_look.is_good and status_look.status in present:
            signs.setdefault(status_look.sign, status_look)
    parts: Parts = [("q quits", "dim")]
    for sign, status_look in signs.items():
        parts += ["  ", (sign, status_look.bright), (f" {status_look.status.value}", "dim")]
    return _text(*parts, width=width)


def _causes(board: Board, width: int, height: int) -> list[Text]:
    """Return the worst causes, a line each, and a blank line below them."""
    found = causes(board.rows)
    if not found or height < 2:
        return []
    shown = found[: height - 1 if len(found) < height else height - 2]
    lines = []
    for cause in shown:
        seen, follows = look(cause.status), breaks(cause)
        more = f"  ({follows})" if follows else ""
        lines.append(_text((seen.sign, seen.bright), f" {headline(cause)}", (more, "dim"), width=width))
    if len(shown) < len(found):
        lines.append(_text((f"{len(found) - len(shown)} more causes", "dim"), width=width))
    return [*lines, _text("")]


def _changes(board: Board, width: int, height: int) -> list[Text]:
    """Return the newest changes below a heading, as many as fit."""
    if height < 2:
        return []
    lines = [_text("")] if height > 2 else []
    for change in board.changes[: height - len(lines)]:
        item = (
            change.section
            if change.name in ("", change.section, change.host)
            else f"{change.section} {change.name}"
        )
        after = look(change.after or Status.OK)
        style = after.bright or look(Status.OK).style
        parts = (
            f"{time_of_day(change.at)}  {change.host}  {item}: ",
            (change.after or "ok", style),
            (f" (was {change.before or 'ok'})", "dim"),
            f"  {change.detail}" if change.detail else "",
        )
        lines.append(_text(*parts, width=width))
    return lines
