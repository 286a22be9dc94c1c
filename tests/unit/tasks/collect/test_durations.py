"""How long a row took: what the guest noted, and nothing that it may have made up."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from labrun.outcome import Nic, Outcome, Pair, Status
from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.collect.collect_spec import CollectSpec, PingSpec, TraceSpec
from labrun.tasks.collect.durations import TIMED, Durations, read_durations, with_durations
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Captured, Facts

SPEC = CollectSpec(
    traces=(
        TraceSpec("web", ip_address("10.0.1.5"), 1),
        TraceSpec("db", ip_address("10.0.2.5"), 2),
        TraceSpec("db", ip_address("fd00::5"), 2),
    ),
    pings=(PingSpec("mail", ip_address("10.0.3.5")),),
    checks=(
        CheckSpec(
            *("port", "tcp", "80", "web", ip_address("10.0.1.5"), "open", 0, ()),
            *({}, None, None, None),
        ),
    ),
)


def durations(text: str, seconds: float = 10.0) -> Durations:
    return read_durations(Facts(commands={"took": Captured(text, 0)}), SPEC, seconds)


def test_each_step_has_the_time_between_its_ends() -> None:
    found = durations(
        "trace.0 100.00 100.25\ntrace.2 100.00 103.50\nping.0 103.50 104.50\ncheck.0 104.50 106.00\n"
    )
    assert dict(found.paths) == {("web", 4): 0.25, ("db", 6): 3.5, ("mail", 4): 1.0}
    assert dict(found.checks) == {"port": 1.5}
    # Of the ten seconds, six passed from the first step's beginning to the last one's end.
    assert found.rest == 4.0


def test_what_is_tried_again_adds_up() -> None:
    assert durations("trace.0 1.00 1.50\ntrace.0 4.00 6.00\n").paths[("web", 4)] == 2.5
    first, later = durations("check.0 1.00 2.00\n"), durations("check.0 5.00 5.50\ntrace.1 5.00 5.25\n")
    both = first.and_later(later)
    assert (both.checks["port"], both.paths[("db", 4)], both.rest) == (1.5, 0.25, first.rest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "trace.9 1.00 2.00\n",
        "trace.-1 1.00 2.00\n",
        "trace.0 1.00\n",
        "trace.0 nan inf\n",
        "trace.0 1e9 2e9\n",
        "trace.0 " + "9" * 5000 + ".00 1.00\n",
        "what.0 1.00 2.00\n",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert dict(durations(text).paths) == {}


def test_no_step_took_longer_than_its_script_or_less_than_nothing() -> None:
    found = durations("trace.0 0.00 9999999999.99\ntrace.1 5.00 4.00\n", seconds=3.0)
    assert dict(found.paths) == {("web", 4): 3.0, ("db", 4): 0.0}
    assert found.rest == 0.0


def test_a_guest_that_notes_nothing_has_one_time_for_all() -> None:
    assert read_durations(Facts(), SPEC, 2.5) == Durations(rest=2.5)


def test_rows_have_their_own_time_or_a_part_of_the_reading() -> None:
    pair = Pair("one", "web", 4)
    rows = [
        Outcome("one", "address", "left", Status.OK, subject=Nic("one", "left")),
        Outcome("one", "sysctl", "a.b", Status.OK),
        Outcome("one", "path", "one -> web", Status.OK, subject=pair),
        Outcome("one", "path", "one -> gone", Status.UNKNOWN, subject=Pair("one", "gone", 4)),
        Outcome("one", "check", "port", Status.OK, subject=pair),
        Outcome("one", "check", "trace", Status.OK, subject=pair),
        Outcome("one", "check", "not tried", Status.UNKNOWN),
    ]
    found = durations("trace.0 1.00 1.25\ncheck.0 1.25 2.00\n", seconds=2.0)
    assert [row.seconds for row in with_durations(rows, found)] == [0.5, 0.5, 0.25, 0.0, 0.75, 0.25, 0.0]
    assert with_durations([], found) == []


def shell(steps: str, tmp_path: Path) -> str:
    """Run these steps as a guest does, and return what they print."""
    done = subprocess.run(
        ["sh", "-c", guest_script("room") + TIMED + steps],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_a_real_shell_measures_what_really_passes(tmp_path: Path) -> None:
    steps = 'timed trace.0 sleep 0.4 &\ntimed trace.1 sleep 0.1 &\nwait\ncat "$tmp/took"\n'
    found = durations(shell(steps, tmp_path), 60.0)
    # The clock ticks in hundredths of a second.
    assert found.paths[("web", 4)] >= 0.39
    assert found.paths[("db", 4)] >= 0.09


def test_the_step_keeps_its_arguments(tmp_path: Path) -> None:
    assert shell("timed check.0 printf '%s|' 'a b' '*' ''\n", tmp_path) == "a b|*||"
