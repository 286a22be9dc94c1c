"""How hard the faults are, what is kept of a planted one, and the score of a lesson."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from labrun.errors import LabrunError
from labrun.outcome import Status
from labrun.runner.commands.faults.fault_state import Planted, duration_text, recall, remember
from labrun.runner.commands.faults.plant import LEVELS
from labrun.runner.commands.lesson.lesson_state import (
    MOST_POINTS,
    Done,
    Lesson,
    forget_lesson,
    recall_lesson,
    remember_lesson,
)
from labrun.state import LabState
from labrun.tasks.faults.catalogue import FAULTS
from labrun.tasks.faults.levels import Level, level_of
from tests.unit.command_line import run_labrun

LAB = """\
name: demo
networks:
  net1: {mode: isolated, cidr: 10.1.0.0/24}
  net2: {mode: isolated, cidr: 10.2.0.0/24}
hosts:
  gate: {role: router, networks: {net1: 10.1.0.254, net2: 10.2.0.254}}
  web: {networks: {net1: 10.1.0.11}}
  db: {networks: {net2: 10.2.0.11}}
"""
PLANTED = Planted("arp-off", "r", ("vague", "plain", "It is arp-off, on r."), began=1000.0)


def test_every_level_has_faults_and_a_twin_has_the_same() -> None:
    assert {level_of(fault) for fault in FAULTS.values()} == set(Level)
    assert tuple(LEVELS.choices) == tuple(level.value for level in Level)
    for name, fault in FAULTS.items():
        if (twin := FAULTS.get(f"{name}-v6")) is not None:
            assert level_of(twin) == level_of(fault)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "59 min"), (7500, "2 h 5 min")]
)
def test_a_length_of_time_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_solved_fault_tells_its_story(tmp_path: Path) -> None:
    state = LabState.open("small", "test:///default", tmp_path)
    solved = replace(PLANTED, given=1, solved=1245.0)
    remember(state, solved)
    assert recall(state) == solved
    assert solved.story == "arp-off on r (4 min, 1 hint)"
    assert solved.as_solved() is solved, "the time stands still"
    assert PLANTED.as_solved().solved > 1000


def test_points_are_lost_by_hints_aids_and_giving_up(tmp_path: Path) -> None:
    done = Done("arp-off", "r", "medium", 0, 60.0)
    assert done.points == MOST_POINTS
    assert [replace(done, hints=hints).points for hints in (1, 2, 4, 9)] == [3, 2, 0, 0]
    assert (replace(done, aids=("drift", "verify")).points, replace(done, given_up=True).points) == (0, 0)
    assert replace(done, aids=("drift", "verify")).told == "with labrun drift, labrun verify"
    lesson = Lesson(3, "medium", 7, (done, replace(done, hints=2, given_up=True)))
    assert lesson.score == "4 of 12 points, 1 of 3 faults mended"
    rows = lesson.rows(PLANTED)
    assert [row.status for row in rows] == [Status.OK, Status.FAILED, Status.PENDING]
    assert "arp-off" not in json.dumps(rows[-1].as_json())
    state = LabState.open("small", "test:///default", tmp_path)
    remember_lesson(state, lesson)
    assert "arp" not in state.lesson.read_text()
    assert recall_lesson(state) == lesson
    forget_lesson(state)
    with pytest.raises(LabrunError, match="there is no lesson in this lab"):
        recall_lesson(state)


@pytest.mark.parametrize("text", ["", "{}", "aGVsbG8=", "eJyrrgUAAXUA+Q=="])
def test_a_damaged_lesson_is_none(tmp_path: Path, text: str) -> None:
    state = LabState.open("small", "test:///default", tmp_path)
    state.lesson.write_text(text)
    with pytest.raises(LabrunError, match="there is no lesson in this lab"):
        recall_lesson(state)


def test_the_faults_are_listed_with_their_levels_and_whether_they_fit(tmp_path: Path) -> None:
    without = run_labrun("break", "--list", cwd=Path("/proc/sys"), env={"HOME": str(tmp_path)})
    assert (without.returncode, without.stderr) == (0, "")
    assert len(without.stdout.splitlines()) == len(FAULTS) + 1
    (tmp_path / "lab.yaml").write_text(LAB)
    found = json.loads(run_labrun("break", "--list", "--level", "easy", "--json", cwd=tmp_path).stdout)
    fits = {fault["name"]: fault["fits"] for fault in found["faults"]}
    assert (fits["route-missing"], fits["route-missing-v6"]) == (True, False)
    assert {fault["level"] for fault in found["faults"]} == {"easy"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("gateway-wrogn",),
            (
                'error: unknown fault "gateway-wrogn" (did you mean "gateway-wrong"?)\n'
                "hint: `labrun break --list` lists them\n"
            ),
        ),
        (("dnat", "--level", "easy"), "error: --level: dnat is hard, not easy\n"),
        (
            ("--level", "odd"),
            (
                "error: Invalid value for '--level': 'odd' is not one of 'easy', 'medium', 'hard'\n"
                "hint: labrun break --help shows its usage\n"
            ),
        ),
    ],
)
def test_what_cannot_be_planted_is_refused(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    done = run_labrun("break", *args, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
