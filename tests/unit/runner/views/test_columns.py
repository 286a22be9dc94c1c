"""Columns: folding, widths of letters, colours, and lists as wide as the terminal."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.runner.cli.terminal import Screen, screen_on
from labrun.runner.views.columns import (
    cell_width,
    coloured,
    column_widths,
    folded,
    heading,
    listing,
    table_row,
)
from tests.fuzz import examples

PLAIN, BRIGHT = Screen(80), Screen(80, has_colors=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 5, [""]),
        ("fits", 4, ["fits"]),
        ("no route to it", 8, ["no route", "to it"]),
        ("two\n\nlines", 8, ["two", "", "lines"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("so abcdefghij is", 4, ["so", "abcd", "efgh", "ij", "is"]),
        ("  indented stays", 10, ["  indented", "stays"]),
        ("\u6f22\u5b57\u6f22\u5b57", 4, ["\u6f22\u5b57", "\u6f22\u5b57"]),
        ("\u6f22\u5b57", 1, ["\u6f22", "\u5b57"]),
    ],
)
def test_text_is_folded_between_words_where_it_can_be(text: str, width: int, lines: list[str]) -> None:
    assert folded(text, width) == lines


@settings(max_examples=examples(200))
@given(st.text("ab \n\u00e9\u0301\u6f22", max_size=60), st.integers(2, 20))
def test_folding_drops_nothing_but_spaces_and_holds_the_width(text: str, width: int) -> None:
    lines = folded(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cell_width(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("n\u00f6", 2), ("no\u0308", 2), ("\u6f22\u5b57", 4), ("\u2705", 2)]
)
def test_a_letter_may_take_two_columns_or_none(text: str, width: int) -> None:
    assert cell_width(text) == width


def test_the_widest_column_gives_way_first_and_whole_ones_last() -> None:
    columns = {"name": ["host01"], "state": ["a state of many words"], "why": ["x" * 30]}
    assert column_widths(columns, 80) == {"name": 6, "state": 21, "why": 30}
    assert column_widths(columns, 48) == {"name": 6, "state": 8, "why": 30}
    assert column_widths(columns, 48, whole=("state",)) == {"name": 6, "state": 21, "why": 17}
    assert sum(column_widths(columns, 12, whole=("state",)).values()) == 8


def test_a_row_has_the_lines_of_its_longest_cell() -> None:
    row = table_row({"a": "one\ntwo", "b": "x", "c": "y"}, {"a": 4, "b": 2, "c": 3}, PLAIN, {})
    assert row == "one   x   y\ntwo\n"
    bright = table_row({"a": "one\ntwo", "b": "x"}, {"a": 4, "b": 2}, BRIGHT, {"a": "bold red"})
    assert bright == "\x1b[1;31mone\x1b[0m   x\n\x1b[1;31mtwo\x1b[0m\n"
    assert (
        heading({"a": 3, "bc": 2}, PLAIN, ruled=True)
        == "a    bc\n\u2500\u2500\u2500\u2500\u2500\u2500\u2500\n"
    )


def test_without_colours_a_style_is_nothing() -> None:
    assert coloured("text", "bold", PLAIN) == coloured("text", "", BRIGHT) == "text"
    assert coloured("", "bold", BRIGHT) == ""


def test_a_list_is_as_wide_as_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", "20")
    lines = [("one", "10.0.0.1 on a network"), ("two\x1b[2J", "-")]
    assert listing(("name", "address"), lines, color=True).splitlines() == [
        "name        address",
        "one         10.0.0.1",
        "            on a",
        "            network",
        "two\\x1b[2J  -",
    ]
    monkeypatch.setenv("COLUMNS", "80")
    assert listing(("name", "address"), lines, color=True).endswith("  -\n")
    assert listing(("name",), [], color=True) == "name\n"


def test_colour_takes_a_terminal_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    assert screen_on(Terminal(), color=True).has_colors
    assert not screen_on(Terminal(), color=False).has_colors
    assert screen_on(io.StringIO(), color=True) == Screen(120)
    monkeypatch.setenv("COLUMNS", "70")
    assert screen_on(Terminal(), color=True, width=50) == Screen(50, has_colors=True)
    assert screen_on(Terminal(), color=True).width == 70
    monkeypatch.setenv("TERM", "dumb")
    assert not screen_on(Terminal(), color=True).has_colors


def test_tables_and_lists_do_without_rich() -> None:
    code = (
        "import io, sys\n"
        "from labrun.outcome import Outcome, Status\n"
        "from labrun.runner.views.columns import listing\n"
        "from labrun.runner.views.table import render\n"
        "row = Outcome('h', 's', 'n', Status.FAILED, 'n\u00f6', 'x' * 300, 'y ' * 300)\n"
        "render([row], stream=io.StringIO(), diff=True)\n"
        "listing(('a',), [('b\u6f22',)], color=True)\n"
        "sys.exit('rich' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
