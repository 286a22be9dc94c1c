"""The last verify: remembered as it was, forgotten with the lab, never in the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labrun.moments import stamp
from labrun.runner.cli.invocation import Invocation
from labrun.runner.history.reading import open_history, readable_history
from labrun.runner.views.diagram_input import last_verify
from tests.unit.past_runs import remember
from tests.unit.verify_cases import captured

URI = "lxc:///system"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def test_what_is_remembered_comes_back(path: Path) -> None:
    case = captured("broken")
    run = remember(path, case.rows, digest=case.lab.digest)
    last = last_verify(open_history(path, "lab"), URI)
    assert last is not None
    assert (last.run, stamp(last.began), last.rows) == (run, "2026-11-25T12:00:00Z", case.rows)
    assert last.is_of(case.lab)
    assert not last.is_of(replace(case.lab, digest="another"))
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_next_one_takes_its_place(path: Path) -> None:
    remember(path, captured("ok").rows)
    run = remember(path)
    last = last_verify(open_history(path, "lab"), URI)
    assert last is not None
    assert (last.run, last.rows) == (run, ())


@pytest.mark.parametrize(
    "later",
    [
        {"command": "configure"},
        {"finished": False},
        {"interrupted": True, "exit_code": 130},
        {"exit_code": 5},
        {"exit_code": 2},
        {"uri": "qemu:///system"},
        {"lab": "another"},
        {"command": "down", "exit_code": 1},
    ],
)
def test_what_is_no_verify_of_this_lab_does_not(path: Path, later: dict[str, object]) -> None:
    run = remember(path)
    remember(path, **later)  # type: ignore[arg-type]
    last = last_verify(open_history(path, "lab"), URI)
    assert last is not None
    assert last.run == run


def test_it_tells_nothing_of_a_lab_that_was_made_anew(path: Path) -> None:
    remember(path)
    remember(path, command="down", removed_lab=True)
    assert last_verify(open_history(path, "lab"), URI) is None
    run = remember(path)
    assert getattr(last_verify(open_history(path, "lab"), URI), "run", None) == run


@pytest.mark.parametrize("content", ["", "{", "SQLite format 3\0 and what is none"])
def test_a_file_that_is_not_labruns_is_none(
    path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(content, encoding="utf-8")
    invocation = Invocation("graph", history=path)
    assert last_verify(readable_history(invocation, "lab"), URI) is None
    assert (str(path) in capsys.readouterr().err) is bool(content)
    assert path.read_text(encoding="utf-8") == content
