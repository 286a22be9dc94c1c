"""The screen of `drift --watch`, drawn for screens of every size."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.watching.board import Board, draw, with_run
from labrun.runner.watching.grid import grid_lines
from labrun.runner.watching.state import Change

SECTIONS = [
    *("machine", "nmcli", "sysctl", "sshd", "hostname", "hosts", "firewall", "nat"),
    *("selinux", "packages", "files", "services", "address", "route", "path", "check"),
]
DRIFTED = ("host01", "sysctl", "net.ipv4.ip_forward")


def rows(hosts: int = 3, bad: dict[tuple[str, str, str], Status] | None = None) -> list[Outcome]:
    """Return an ok row for each host and section, but those of ``bad``."""
    found = [Outcome(HYPERVISOR, "network", "left", Status.OK)]
    for host in [f"host{number:02d}" for number in range(hosts)]:
        found += [Outcome(host, section, section, Status.OK) for section in SECTIONS]
    found += [Outcome(*key, status, expected="1", actual="0") for key, status in (bad or {}).items()]
    return found


def board(hosts: int = 3) -> Board:
    changes = [Change(DRIFTED, None, Status.DRIFTED)]
    found = rows(hosts, {DRIFTED: Status.DRIFTED})
    return with_run(Board("demo"), found, changes, ended=1_800_000_000.0, seconds=2.13)


def lines(board: Board, width: int, height: int) -> list[str]:
    return [line.plain.rstrip() for line in draw(board, width, height, 1_800_000_003.0)]


def test_everything_is_on_an_ordinary_terminal() -> None:
    shown = lines(
        Board("demo", board().rows, 1_800_000_000.0, 2.13, 1_800_000_010.0, board().changes), 80, 24
    )
    assert len(shown) == 24
    assert shown[0] == "demo  49 ok, 1 drifted"
    assert shown[1].endswith(", 2.1 s; next in 7 s")
    assert shown[3].startswith("~ host01: net.ipv4.ip_forward"), "the cause stands first"
    heading = shown[5].split()
    assert (heading[0], heading[-1], len(heading)) == ("host", "changed", 2 + 15)
    assert len(set(heading)) == len(heading), "sections that begin alike can be told apart"
    (host01,) = [line.split() for line in shown if line.startswith("host01 ")]
    assert host01[1:-1].count("1~") == 1
    assert host01[-1].count(":") == 2, "when something changed there last"
    (host00,) = [line.split() for line in shown if line.startswith("host00 ")]
    assert set(host00[1:]) == {"ok"}
    assert any("host01  sysctl net.ipv4.ip_forward: drifted (was ok)  expected 1" in line for line in shown)
    assert shown[-1] == "q quits  ~ drifted"


def test_names_stand_in_full_where_there_is_room() -> None:
    assert lines(board(), 200, 40)[5].split() == ["host", "network", *SECTIONS, "changed"]


def test_the_worst_stays_in_sight() -> None:
    shown = lines(board(hosts=60), 60, 12)
    assert any(line.startswith("host01 ") and "1~" in line for line in shown)
    assert any("hosts and" in line and line.endswith("not shown") for line in shown)


@given(
    st.integers(20, 200),
    st.integers(6, 60),
    st.lists(
        st.tuples(
            st.text(max_size=12),
            st.text(max_size=12),
            st.text(max_size=30),
            st.sampled_from(Status),
            st.text(max_size=40),
        ),
        max_size=40,
    ),
)
def test_no_screen_is_too_small_and_no_text_too_odd(
    width: int, height: int, found: Sequence[tuple[str, str, str, Status, str]]
) -> None:
    outcomes = [Outcome(host, section, name, status, why=why) for host, section, name, status, why in found]
    changes = [Change((host, section, name), None, status) for host, section, name, status, _ in found]
    screen = draw(with_run(Board("demo"), outcomes, changes, ended=1.0, seconds=1.0), width, height, 2.0)
    assert len(screen) == height
    assert all(line.cell_len <= width for line in screen)
    assert not any("\n" in line.plain or "\x1b" in line.plain for line in screen)


@pytest.mark.parametrize("height", range(2, 12))
def test_a_grid_is_no_higher_than_it_may_be(height: int) -> None:
    assert len(grid_lines(rows(20), {}, 40, height)) <= height


def test_trouble_is_said_and_what_was_known_stays() -> None:
    known = board()
    shown = lines(
        Board("demo", known.rows, 1.0, 1.0, None, known.changes, trouble="libvirtd\nis gone"), 80, 24
    )
    assert shown[1].endswith("comparing ...  libvirtd is gone")
    assert any("1~" in line for line in shown)


def test_before_the_first_run_there_is_little_to_see() -> None:
    shown = lines(Board("demo"), 80, 24)
    assert (shown[0], shown[1], shown[-1]) == ("demo", "comparing ...", "q quits")
    assert not any(shown[2:-1])


def test_the_newest_changes_come_first() -> None:
    change = Change(("host01", "sysctl", "a"), Status.DRIFTED, None)
    again = with_run(board(), rows(), [change], ended=1_800_000_100.0, seconds=1.0)
    assert [each.name for each in again.changes] == ["a", "net.ipv4.ip_forward"]
    shown = lines(again, 80, 24)
    assert any("sysctl a: ok (was drifted)" in line for line in shown)
