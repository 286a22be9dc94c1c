"""Diffs for people: a file's whole diff once, every property of its own, in colour on a terminal."""

from __future__ import annotations

import difflib
import io
import time

from labrun.outcome import Outcome, Status
from labrun.runner.views.folding import joined
from labrun.runner.views.table import render
from labrun.tasks.configure.text_diff import compared, unified, with_file
from labrun.tasks.state.item import Item, Words
from tests.unit.runner.views.test_table import Terminal

PATH = "/etc/sysctl.d/90-labrun.conf"
FILE = f"--- /dev/null\n+++ {PATH}\n@@ -0,0 +1,2 @@\n+a.b = 1\n+c.d = 2"


def row(name: str, diff: str | None, host: str = "one", section: str = "sysctl") -> Outcome:
    return Outcome(host, section, name, Status.WOULD_CHANGE, "1", "0", diff=diff)


A = row("a.b", f"-running: a.b = 0\n+running: a.b = 1\n+{PATH}: a.b = 1\n{FILE}")
C = row("c.d", f"+{PATH}: c.d = 2")
OTHER = row("e.f", "+/etc/other.conf: e.f = 3")


def test_a_file_of_many_settings_is_shown_once_below_what_else_changes() -> None:
    ((members, lines),) = joined([A, C, OTHER])
    assert [member.name for member in members] == ["a.b", "c.d", "e.f"]
    assert lines == [
        "-running: a.b = 0",
        "+running: a.b = 1",
        "+/etc/other.conf: e.f = 3",
        *FILE.split("\n"),
    ]


def test_without_the_whole_file_a_row_s_own_line_stays() -> None:
    assert joined([C]) == [([C], [f"+{PATH}: c.d = 2"])]
    assert joined([row("x", None)]) == []


def test_hosts_and_profiles_have_diffs_of_their_own() -> None:
    left, right = row("left", "+x: 1", section="nmcli"), row("right", "+x: 2", section="nmcli")
    elsewhere = row("a.b", "+y", host="two")
    found = joined([A, left, elsewhere, right, C])
    assert [[(member.host, member.name) for member in members] for members, _ in found] == [
        [("one", "a.b"), ("one", "c.d")],
        [("one", "left")],
        [("two", "a.b")],
        [("one", "right")],
    ]


def test_a_removed_line_that_looks_like_a_header_is_a_line() -> None:
    text = unified("/etc/x", "-- a\n++ b\n", "-- a\n")
    ((_, lines),) = joined([row("x", text, section="files")])
    assert lines == text.split("\n")
    assert joined([row("x", "--- a\nb", section="files")]) == [
        ([row("x", "--- a\nb", section="files")], ["--- a", "b"])
    ]


def test_the_table_names_the_row_or_where_there_are_several_the_section() -> None:
    shown = render([A, C], stream=io.StringIO(), diff=True, width=120)
    assert "\none: sysctl\n-running: a.b = 0\n" in shown
    assert shown.count(f"+++ {PATH}") == 1
    assert "\none: sysctl c.d\n+" in render([C], stream=io.StringIO(), diff=True, width=120)


def test_a_terminal_shows_what_comes_green_and_what_goes_red() -> None:
    shown = render([A], stream=Terminal(), diff=True, width=80)
    assert "\x1b[31m-running: a.b = 0\x1b[0m" in shown
    assert "\x1b[32m+running: a.b = 1\x1b[0m" in shown
    assert f"\x1b[1m+++ {PATH}\x1b[0m" in shown
    assert "\x1b[36m@@ -0,0 +1,2 @@\x1b[0m" in shown
    assert "\x1b" not in render([A], stream=Terminal(), diff=True, width=80, color=False).replace(
        "\x1b[1m", ""
    ).replace("\x1b[0m", "")


def test_the_whole_file_stands_beside_the_first_item_that_changes_it() -> None:
    items = (
        Item("ok"),
        Item("running", {"": "x"}, words=Words(diff="+running: x")),
        Item("a.b", {"": "1"}, words=Words(diff=f"+{PATH}: a.b = 1")),
        Item("c.d", {"": "2"}, words=Words(diff=f"+{PATH}: c.d = 2")),
    )
    found = with_file(items, PATH, None, "a.b = 1\nc.d = 2\n")
    assert [item.diff for item in found] == [
        None,
        "+running: x",
        f"+{PATH}: a.b = 1\n{FILE}",
        f"+{PATH}: c.d = 2",
    ]
    assert with_file(items, PATH, "x\n", "x\n") == items
    assert with_file(items[:1], PATH, None, "x\n") == items[:1]
    gone = with_file((Item("a.b", have={"": "1"}, words=Words(diff="")),), PATH, "a.b = 1\n", None)
    assert gone[0].diff == f"--- {PATH}\n+++ /dev/null\n@@ -1 +0,0 @@\n-a.b = 1"


def test_a_file_of_many_lines_is_compared_where_it_differs() -> None:
    before = [f"line {number}" for number in range(50_000)]
    after = [*before[:30_000], "new", *before[30_000:]]
    began = time.process_time()
    whole = list(
        difflib.unified_diff(
            before[29_000:31_000], [*before[29_000:30_000], "new", *before[30_000:31_000]], n=2, lineterm=""
        )
    )
    found = compared(before, after, context=2)
    assert found[3:] == whole[3:]
    assert found[2] == "@@ -29999,4 +29999,5 @@"
    assert compared(before, list(reversed(before)), ("a", "b")) == [
        "--- a",
        "+++ b",
        "-50000 lines",
        "+50000 lines",
    ]
    assert compared(before, before) == []
    assert time.process_time() - began < 3
