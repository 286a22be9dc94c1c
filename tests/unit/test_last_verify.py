"""The last verify: remembered as it was, removed with the lab, never in the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from labrun.outcome import Outcome, Status
from labrun.runner.last_verify import read_last_verify, remember_verify
from labrun.runner.options import Invocation
from labrun.state import LabState
from tests.unit.verify_cases import captured

RUN = "2026-11-20T16:00:00Z-3f2a"


@pytest.fixture
def state(tmp_path: Path) -> LabState:
    return LabState.open("captured", "lxc:///system", tmp_path)


def test_what_is_remembered_comes_back(state: LabState) -> None:
    case = captured("broken")
    remember_verify(state, case.lab, Invocation("verify", run=RUN), case.rows)
    last = read_last_verify(state)
    assert last is not None
    assert (last.run, last.when, last.rows) == (RUN, "2026-11-20T16:00:00Z", case.rows)
    assert last.is_of(case.lab)
    assert not last.is_of(replace(case.lab, digest="another"))
    assert state.last_verify.stat().st_mode & 0o777 == 0o600


def test_the_next_one_takes_its_place(state: LabState) -> None:
    case = captured("ok")
    remember_verify(state, case.lab, Invocation("verify", run=RUN), case.rows)
    remember_verify(state, case.lab, Invocation("verify", run="later-1"), [])
    last = read_last_verify(state)
    assert last is not None
    assert (last.run, last.rows) == ("later-1", ())


def test_it_goes_with_the_lab(state: LabState) -> None:
    case = captured("ok")
    remember_verify(state, case.lab, Invocation("verify"), case.rows)
    state.remove()
    assert not state.root.exists()
    assert read_last_verify(state) is None


ROW = Outcome("h", "path", "h -> i", Status.OK).as_json()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "null",
        json.dumps({"schema": 2, "run": "r", "digest": "d", "seconds": 1, "rows": []}),
        json.dumps({"schema": 1, "run": "r", "digest": "d", "seconds": 1, "rows": [{}]}),
        json.dumps(
            {"schema": 1, "run": "r", "digest": "d", "seconds": 1, "rows": [{**ROW, "status": "odd"}]}
        ),
        json.dumps({"schema": 1, "run": "r", "digest": "d", "seconds": 1, "rows": [{**ROW, "new": 1}]}),
    ],
)
def test_a_file_that_is_not_labruns_is_none(state: LabState, content: str) -> None:
    state.last_verify.write_text(content, encoding="utf-8")
    assert read_last_verify(state) is None


def test_a_directory_that_cannot_be_written_ends_nothing(state: LabState) -> None:
    case = captured("ok")
    gone = LabState(state.root / "gone", "captured")
    remember_verify(gone, case.lab, Invocation("verify"), case.rows)
    assert read_last_verify(gone) is None
