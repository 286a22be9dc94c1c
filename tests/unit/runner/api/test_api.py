"""The Python API without a hypervisor: rows, errors, waiting, and that nothing is printed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import labrun
from labrun.outcome import Outcome, Status
from labrun.runner.api.calls import called
from labrun.runner.cli.invocation import Invocation
from labrun.runner.commands.verify.command import command as verify_command
from tests.loopback_sshd import free_port

LAB = """\
name: api-unit
networks: {{lan: {{cidr: 192.0.2.0/24}}}}
hosts:
  near: {{address: 127.0.0.1, networks: {{lan: 192.0.2.1}}, ssh: {{port: {port}}}}}
  far: {{address: 127.0.0.2, networks: {{lan: 192.0.2.2}}, ssh: {{port: {port}}}}}
"""
SMALL = """\
name: api-small
networks: {left: {cidr: 10.9.1.0/24}, right: {cidr: 10.9.2.0/24, cidr6: "fd00:9::/64"}}
hosts:
  gate: {role: router, networks: {left: 10.9.1.254, right: 10.9.2.254}}
  one: {networks: {left: 10.9.1.10}, disk: 3}
  two: {networks: {right: {ipv4: dhcp, ipv6: "fd00:9::2"}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.yaml").write_text(SMALL, encoding="utf-8")
    return tmp_path


def test_a_lab_is_found_loaded_and_looked_at(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "below").mkdir()
    lab = labrun.load()
    assert lab.path == folder / "lab.yaml"
    assert labrun.load(folder).path == lab.path
    assert (lab.name, lab.hosts, len(lab), list(lab)) == (
        "api-small",
        ("gate", "one", "two"),
        3,
        [*lab.hosts],
    )
    assert ("one" in lab, "three" in lab) == (True, False)
    assert (lab["gate"].is_router, lab["one"].is_router) == (True, False)
    assert lab["one"].addresses == ("10.9.1.10",)
    assert lab["two"].addresses[1] == "fd00:9::2"
    assert repr(lab) == "<Lab api-small: 3 hosts, 2 networks>"
    # The file has a key without effect, of which the command line warns.
    assert capfd.readouterr() == ("", "")


def test_expectations_are_verify_s_rows_and_ask_nobody(folder: Path) -> None:
    rows = labrun.expectations("lab.yaml")
    assert rows.ok
    assert {row.status for row in rows} == {labrun.Status.SKIPPED}
    assert [row.expected for row in rows.of("address", host="one")] == ["10.9.1.10/24"]
    assert {row.host for row in labrun.expectations(hosts="one,@router")} == {"gate", "one"}
    assert labrun.expectations(hosts=["one"]) == labrun.expectations().of(host="one")


def test_an_unknown_host_and_a_wrong_file_are_errors_with_reasons(folder: Path) -> None:
    lab = labrun.load()
    with pytest.raises(labrun.UsageError, match='unknown host "tow"') as caught:
        lab["tow"]
    assert caught.value.hint == "the lab has gate, one, two"
    with pytest.raises(labrun.UsageError, match="is not one host"):
        lab["@router"]
    (folder / "lab.yaml").unlink()
    with pytest.raises(labrun.UsageError, match=r"no lab\.yaml in"):
        labrun.load()
    (folder / "bad.yaml").write_text("name: X\nhosts: {}\n", encoding="utf-8")
    with pytest.raises(labrun.LabFileError) as wrong:
        labrun.load("bad.yaml")
    assert wrong.value.problems[0].line == 1


@pytest.fixture
def unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> labrun.Lab:
    """Two existing machines at ports of this machine where nothing listens."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.yaml").write_text(LAB.format(port=free_port()), encoding="utf-8")
    return labrun.load(state_dir=tmp_path / "state")


def test_hosts_out_of_reach_are_rows_and_not_errors(
    unreachable: labrun.Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    for rows in (unreachable.verify(), unreachable.configure(dry_run=True), unreachable.configure("near")):
        assert (rows.ok, rows.exit_code) == (False, 4)
        assert {row.status for row in rows.bad} == {labrun.Status.UNREACHABLE}
        assert "near: " in repr(rows)
        with pytest.raises(labrun.LabrunError, match="refused the connection"):
            rows.raise_if_bad()
    assert unreachable.up().ok
    assert unreachable.is_up()
    assert capfd.readouterr() == ("", "")


def test_a_command_on_a_host_out_of_reach_is_an_error(unreachable: labrun.Lab) -> None:
    with pytest.raises(labrun.UnreachableError, match="refused the connection"):
        unreachable["near"].run("true")


def test_a_nornir_task_needs_no_login_of_its_own(unreachable: labrun.Lab) -> None:
    rows = unreachable.run(lambda task, word: f"{task.host.name} {word}", parameters={"word": "x"})
    assert [row.actual for row in rows] == ["near x", "far x"]
    with labrun.nornir(unreachable, "far", dry_run=True) as nornir:
        results = nornir.run(task=lambda task: task.is_dry_run())
    assert [(host, result[0].result) for host, result in results.items()] == [("far", True)]


def test_calls_are_runs_in_the_history_unless_told_otherwise(unreachable: labrun.Lab) -> None:
    state = unreachable.path.parent / "state"
    labrun.load(state_dir=state, record=False).verify()
    assert not list(state.rglob("*.sqlite"))
    unreachable.verify(["near"])
    (history,) = state.rglob("*.sqlite")
    with sqlite3.connect(history) as connection:
        rows = connection.execute("select command, arguments, exit_code from runs").fetchall()
    connection.close()
    assert rows == [("verify", "--hosts near", 4)]


def test_variables_of_the_command_line_have_no_effect(
    unreachable: labrun.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABRUN_CONFIGURE_ONLY", "nonsense")
    monkeypatch.setenv("LABRUN_HOSTS", "nobody")
    assert {row.host for row in unreachable.configure(dry_run=True)} == {"near", "far"}


def test_an_option_that_a_command_has_not_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="verify has no option nonsense"):
        called(verify_command, Invocation("verify"), nonsense=1)


def row(status: Status, name: str = "x", **more: Any) -> Outcome:
    return Outcome("one", "check", name, status, **more)


def test_rows_are_a_sequence_that_knows_its_exit_code() -> None:
    rows = labrun.Outcomes(
        [row(Status.OK, "a"), row(Status.FAILED, "b", expected="1", actual="0", why="broken")]
    )
    assert (len(rows), rows[0].name, [each.name for each in rows[1:]]) == (2, "a", ["b"])
    assert (rows.ok, rows.exit_code, bool(labrun.Outcomes())) == (False, 1, False)
    assert repr(rows) == ("<Outcomes: 1 of 2 rows are bad>\none: check b: failed (expected 1, got 0, broken)")
    assert repr(rows[:1]) == "<Outcomes: 1 rows, ok>"
    assert rows[:1].raise_if_bad() == rows[:1]
    with pytest.raises(labrun.LabrunError, match="one: check b: failed"):
        rows.raise_if_bad()


def test_waiting_ends_with_the_first_true_answer(folder: Path) -> None:
    lab = labrun.load()
    answers = iter([0, None, "", labrun.LabrunError("not yet"), AssertionError("nor now"), "here"])

    def ask() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert lab.wait_until(ask, 30, every=0.01) == "here"
    good = labrun.Outcomes([row(Status.OK)])
    tries = iter([labrun.Outcomes([row(Status.FAILED)]), good])
    assert lab.wait_until(lambda: next(tries), 30, every=0.01) == good


def test_waiting_ends_in_time_with_the_last_reason(folder: Path) -> None:
    lab = labrun.load()

    def never() -> bool:
        raise labrun.LabrunError("the door is closed")

    with pytest.raises(labrun.TimedOutError, match=r"not within 0.05 s: never: the door is closed"):
        lab.wait_until(never, 0.05, every=0.01)
    with pytest.raises(AssertionError, match=r"not within 0.05 s: a web page: it is False"):
        lab.wait_until(lambda: False, 0.05, every=0.01, what="a web page")
    with pytest.raises(ZeroDivisionError):
        lab.wait_until(lambda: 1 // 0, 5)
