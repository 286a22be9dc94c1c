"""The results table: order, widths, quiet, diffs, and nothing that could move the cursor."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Sequence
from typing import Any

import pytest

from labrun.outcome import Outcome, Pair, Status
from labrun.runner.cli.terminal import printable
from labrun.runner.views.table import order, render, summary

WHY = "host00: net.ipv4.ip_forward is 0"
ROWS = (
    Outcome("host01", "address", "network1", Status.OK, "172.16.0.11/24", "172.16.0.11/24"),
    Outcome("host03", "sshd", "passwordauthentication", Status.CHANGED, "no", "no", diff="-yes\n+no"),
    Outcome("host02", "check", "no-telnet", Status.SKIPPED, "blocked", None, "not acted on yet"),
    Outcome("host04", "path", "host04 -> host03", Status.UNREACHABLE, "172.17.0.11", None, "no lease"),
    Outcome(
        "host01",
        "path",
        "host01 -> host03",
        Status.FAILED,
        "172.16.0.254 172.17.0.11",
        "172.16.0.254 *",
        WHY,
        subject=Pair("host01", "host03", 4),
    ),
)
TAIL = "stage ssh: timed out after 120 s\nlast lines of the console:\n" + "x" * 300


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(rows: Sequence[Outcome] = ROWS, **settings: Any) -> str:
    return render(rows, stream=io.StringIO(), **{"width": 120, "seconds": 3.21, **settings})


def words(text: str) -> str:
    return " ".join(text.split())


def _failing(count: int, why: str, host: str = "h") -> list[Outcome]:
    return [Outcome(host, "path", f"{host} -> {n}", Status.FAILED, why=why) for n in range(count)]


def test_a_reason_of_many_rows_is_said_once_more_above_the_counts() -> None:
    rows = [*_failing(12, "r: net.ipv4.ip_forward is 0"), *_failing(3, "eth0 is down"), *ROWS]
    for quiet in (False, True):
        end = shown(rows, quiet=quiet).splitlines()[-2:]
        assert end[0] == "12 rows: r: net.ipv4.ip_forward is 0"
        assert "16 failed" in end[1]


def test_few_rows_and_what_is_one_row_already_need_no_such_line() -> None:
    assert " rows: " not in shown(_failing(9, "r: net.ipv4.ip_forward is 0"))
    silent = [Outcome("h", "sshd", str(number), Status.UNREACHABLE, why="no route") for number in range(30)]
    assert " rows: " not in shown(silent)
    fine = [Outcome("h", "path", str(number), Status.OK, why="seen out of band") for number in range(30)]
    assert " rows: " not in shown(fine)


def test_failing_rows_come_first_ok_last() -> None:
    assert [row.status.value for row in order(ROWS)] == ["failed", "unreachable", "changed", "skipped", "ok"]
    every = [Outcome("h", "s", status.value, status) for status in Status]
    assert [row.name for row in order(every)] == [
        "failed",
        "rolled-back",
        "unreachable",
        "unknown",
        "would-change",
        "pending",
        "drifted",
        "conflict",
        "warning",
        "changed",
        "skipped",
        "ok",
    ]


def test_rows_of_one_rank_keep_their_order() -> None:
    rows = [Outcome(f"h{number}", "s", "n", Status.OK) for number in (3, 1, 2)]
    assert order(rows) == rows


def test_at_120_columns_each_row_is_one_line_with_its_reason() -> None:
    lines = shown().splitlines()
    assert words(lines[0]) == "host what expected got result why"
    assert words(lines[2]).startswith("host01 path -> host03 172.16.0.254 172.17.0.11 172.16.0.254 * failed")
    assert lines[-1] == "1 ok, 1 changed, 1 skipped, 1 failed, 1 unreachable in 3.2 s"


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_every_width_holds_and_nothing_is_cut(width: int) -> None:
    rows = (*ROWS, Outcome("host05", "ready", "host05", Status.UNREACHABLE, "ready", None, TAIL))
    text = shown(rows, width=width)
    assert max(map(len, text.splitlines())) <= width
    squeezed = re.sub(r"\s", "", text)
    for part in (WHY, "stage ssh: timed out after 120 s", "last lines of the console:", "not acted on yet"):
        if width <= 80:  # below the rows, so that they stand in one piece
            assert part in text
    assert squeezed.count("x") >= 300


def test_on_80_columns_reasons_stand_below_their_rows() -> None:
    lines = shown(width=80).splitlines()
    assert f"    {WHY}" in lines
    assert words(lines[0]) == "host what expected got result"


def test_columns_without_content_are_left_out() -> None:
    text = shown([Outcome("host00", "machine", "host00", Status.CHANGED)], width=80)
    assert [words(line) for line in text.splitlines()[:3:2]] == ["host what result", "host00 machine changed"]


def test_quiet_shows_only_what_is_not_ok() -> None:
    text = shown(quiet=True)
    assert "network1" not in text
    assert "no-telnet" in text
    assert shown(ROWS[:1], quiet=True) == ""


def test_diffs_come_when_asked_for() -> None:
    assert "+no" not in shown()
    assert "host03: sshd passwordauthentication\n-yes\n+no\n" in shown(diff=True)


def test_a_guests_escape_sequences_are_spelled_out() -> None:
    evil = "\x1b[2J\x1b]0;title\x07 [bold]x[/bold] \x9b31m \u202etxt"
    text = shown([Outcome("h", "s", "n", Status.FAILED, evil, evil, evil, diff=f"+{evil}")], diff=True)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "\\x1b[2J" in text
    assert "[bold]x[/bold]" in text, "square brackets are text, not markup"


def test_a_terminal_gets_colour_a_file_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in render(ROWS, stream=Terminal(), width=120)
    assert "\x1b" not in render(ROWS, stream=Terminal(), width=120, color=False)
    assert "\x1b" not in shown()


def test_a_file_is_120_columns_wide_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    long = [Outcome("h", "s", "n", Status.FAILED, why="y" * 500)]
    assert max(map(len, render(long, stream=io.StringIO()).splitlines())) == 120
    monkeypatch.setenv("COLUMNS", "70")
    assert max(map(len, render(long, stream=io.StringIO()).splitlines())) == 70


def test_the_summary_counts() -> None:
    assert summary(ROWS[:1] * 23 + ROWS[4:], 3.2) == "23 ok, 1 failed in 3.2 s"
    assert summary((), 0.04) == "nothing to report in 0.0 s"


def test_printable_keeps_newlines_and_widens_tabs() -> None:
    assert printable("a\r\nb\tc\x00\ud800") == "a\nb   c\\x00\\ud800"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("why", [None, "no route", "no route " * 40])
def test_letters_beyond_ascii_change_no_column(
    stream: type[io.StringIO], width: int, why: str | None
) -> None:
    row = Outcome("host01", "path", "host01 -> host03", Status.FAILED, "172.16.0.254", "nobody", why)
    other = dataclasses.replace(row, actual="nobödy")
    drawn = render([other, row], stream=stream(), width=width)
    assert "nobödy" in drawn
    assert render([row, row], stream=stream(), width=width) == drawn.replace("nobödy", "nobody")


def test_words_are_broken_only_where_no_column_can_give_without() -> None:
    row = Outcome(
        "host00",
        "sysctl",
        "net.ipv4.conf.default.rp_filter",
        Status.DRIFTED,
        "2",
        "0 (not kept across a reboot)",
    )
    assert "net.ipv4.conf.default.rp_filter" in shown([row], width=80)
    narrow = shown([row], width=40)
    assert "net.ipv4.conf.default.rp_filter" not in narrow
    assert max(len(line) for line in narrow.splitlines()) <= 40
