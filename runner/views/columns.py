"""Text in columns: widths that fit the terminal, folded cells, coloured words. Nothing is cut off.

The one writer of tables and lists; rich draws only what changes while it is looked at.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from labrun.runner.cli.terminal import Screen, printable, screen_on

__all__ = ["GAP", "coloured", "column_widths", "folded", "heading", "listing", "natural_width", "table_row"]

GAP = 2
"""Columns of the screen between two cells."""
_LEAST = len("expected")
_CODES = {
    **{name: str(1 + number) for number, name in enumerate(("bold", "dim", "italic", "underline"))},
    **{
        name: str(30 + number)
        for number, name in enumerate(("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"))
    },
}
_WORD = re.compile(r"(?:^\s*)?\S+\s*")
_SPACE = " " * GAP
_RULE = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"


def cell_width(text: str) -> int:
    """Return how many columns of a terminal one line takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


@lru_cache(maxsize=4096)
def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def natural_width(title: str, cells: Sequence[str]) -> int:
    """Return the width of a column in which nothing is folded."""
    return max(cell_width(title), *(cell_width(line) for cell in cells for line in cell.split("\n")), 0)


def coloured(text: str, style: str, screen: Screen) -> str:
    """Return text in a style such as ``bold red``, unchanged if the screen has no colours."""
    if not (style and text and screen.has_colors):
        return text
    return f"\x1b[{';'.join(_CODES[word] for word in style.split())}m{text}\x1b[0m"


def folded(text: str, width: int) -> list[str]:
    """Return text in lines of at most ``width`` columns, broken between words unless one is longer."""
    if text.isascii() and len(text) <= width and "\n" not in text:
        return [text]
    return [part for line in text.split("\n") for part in _folded_line(line, max(1, width))]


def _folded_line(line: str, width: int) -> list[str]:
    if cell_width(line) <= width:
        return [line]
    lines: list[str] = []
    current = ""
    for word in _WORD.findall(line):
        if cell_width(current) + cell_width(word.rstrip()) <= width:
            current += word
            continue
        if current:
            lines.append(current.rstrip())
        *full, current = _cut(word, width)
        lines.extend(full)
    return [*lines, current.rstrip()] if current or not lines else lines


def _cut(word: str, width: int) -> list[str]:
    """Return a word in pieces that fit, with at least one character each; spaces after it take no room."""
    end = len(word.rstrip())
    pieces: list[str] = []
    begin = used = 0
    for number, character in enumerate(word[:end]):
        used += _character_width(character)
        if used > width and number > begin:
            pieces.append(word[begin:number])
            begin, used = number, _character_width(character)
    return [*pieces, word[begin:]]


def column_widths(
    columns: Mapping[str, Sequence[str]], room: int, *, whole: Collection[str] = ()
) -> dict[str, int]:
    """Return each column's width. If they do not fit, shrink the widest first.

    Break words only if no column can shrink without, and columns in ``whole`` only if nothing else helps.
    """
    widths = {title: natural_width(title, cells) for title, cells in columns.items()}
    words = {title: max(_LEAST, _longest_word(cells)) for title, cells in columns.items()}
    some, any_at_all = dict.fromkeys(columns, _LEAST), dict.fromkeys(columns, 1)
    for least, firm in ((words, whole), (some, whole), (any_at_all, ())):
        while sum(widths.values()) + GAP * (len(widths) - 1) > room:
            giving = [title for title in widths if title not in firm and widths[title] > least[title]]
            if not giving:
                break
            widths[max(giving, key=lambda title: widths[title])] -= 1
    return widths


def _longest_word(cells: Sequence[str]) -> int:
    return max((cell_width(word) for cell in cells for word in cell.split()), default=0)


def table_row(
    cells: Mapping[str, str], widths: Mapping[str, int], screen: Screen, styles: Mapping[str, str]
) -> str:
    """Return one row, of as many lines as its longest cell needs; ``styles`` are by column."""
    parts = [folded(cell, widths[title]) for title, cell in cells.items()]
    lines = []
    for number in range(max(map(len, parts), default=0)):
        shown = []
        for title, part in zip(cells, parts, strict=True):
            text = part[number] if number < len(part) else ""
            padding = " " * (widths[title] - cell_width(text))
            style = styles.get(title)
            shown.append((coloured(text, style, screen) if style else text) + padding)
        lines.append(_SPACE.join(shown).rstrip() + "\n")
    return "".join(lines)


def heading(widths: Mapping[str, int], screen: Screen, *, ruled: bool = False) -> str:
    """Return the titles of the columns, with ``ruled`` over a line."""
    titles = table_row({title: title for title in widths}, widths, screen, dict.fromkeys(widths, "bold"))
    rule = _RULE if screen.encodes(_RULE) else "-"
    return titles + (rule * (sum(widths.values()) + GAP * (len(widths) - 1)) + "\n" if ruled else "")


def listing(
    columns: Sequence[str], lines: Sequence[Sequence[str]], *, color: bool, whole: Collection[str] = ()
) -> str:
    """Return a table of text as wide as stdout's terminal. Cells may have several lines.

    Columns in ``whole`` are folded last.
    """
    screen = screen_on(sys.stdout, color=color)
    shown = [[printable(cell) for cell in line] for line in lines]
    widths = column_widths(
        {title: [line[number] for line in shown] for number, title in enumerate(columns)},
        screen.width,
        whole=whole,
    )
    rows = (table_row(dict(zip(columns, line, strict=True)), widths, screen, {}) for line in shown)
    return heading(widths, screen) + "".join(rows)
