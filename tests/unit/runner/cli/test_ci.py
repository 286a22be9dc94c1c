"""What a CI job gets from a command line: annotations in its log, and a job summary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.main import run
from tests.unit.command_line import offer, run_labrun

WRONG = "name: demo\nhosts:\n  one: {ram: 512}\n"
ROWS = [
    Outcome("one", "sysctl", "a.b", Status.OK, "1", "1"),
    Outcome("two", "sysctl", "a.b", Status.FAILED, "1", "0", "it is off"),
]


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    monkeypatch.chdir(tmp_path)
    return path


def found(invocation: Invocation, **_others: object) -> Report:
    return Report("demo", ROWS)


def test_problems_of_the_lab_file_are_annotated(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(WRONG, encoding="utf-8")
    done = run_labrun("--lab", "lab.yaml", "--format", "github", "validate", cwd=tmp_path)
    assert done.returncode == 2
    assert re.findall(
        r"(?m)^::error file=lab\.yaml,line=3,title=lab file::(\S+ unknown key)", done.stdout
    ) == ["hosts.one.ram: unknown key"]
    assert "lab.yaml:3: hosts.one.ram: unknown key" in done.stderr


def test_the_variable_does_the_same(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(WRONG, encoding="utf-8")
    done = run_labrun("validate", cwd=tmp_path, env={"LABRUN_FORMAT": "github"})
    assert "::error file=lab.yaml,line=3," in done.stdout


def test_a_wrong_command_line_is_annotated(tmp_path: Path) -> None:
    done = run_labrun("--format", "github", "verify", "--bogus", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == (
        '::error title=labrun verify::unknown option "--bogus" (did you mean "--verbose"?)'
        "%0Alabrun verify --help shows its usage\n"
    )


def test_the_table_stands_before_the_annotations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, found)
    assert run(["--format", "github", "demo"]) == 1
    shield, *table, end, annotation = capsys.readouterr().out.splitlines()
    assert shield == f"::stop-commands::{end.strip(':')}"
    assert table[-1].startswith("1 ok, 1 failed in ")
    assert annotation == ("::error title=labrun demo%3A two sysctl a.b failed::it is off%0Aexpected 1, got 0")


def test_annotations_and_a_document_do_not_share_stdout(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("name: demo\n", encoding="utf-8")
    done = run_labrun("--format", "github", "verify", "--junit", "-", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error: --junit - and --format github both write to stdout\nhint: name a file\n",
    )


@pytest.mark.parametrize("name", ["up", "configure", "verify", "drift"])
def test_a_run_adds_its_summary_once(
    name: str, summary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, found, name=name)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    summary.write_text("# before\n", encoding="utf-8")
    assert run([name]) == 1
    text = summary.read_text(encoding="utf-8")
    assert text.startswith(f"# before\n## labrun {name}: demo: not ok\n\n1 ok, 1 failed in ")
    assert text.count("## ") == 1


@pytest.mark.parametrize("name", ["demo", "plan", "status", "history"])
def test_other_commands_add_none(name: str, summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, found, name=name)
    assert run([name]) == 1
    assert not summary.exists()


def test_an_error_is_a_summary_too(summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def body(invocation: Invocation) -> Report:
        raise LabrunError("no <room> left", step="image")

    offer(monkeypatch, body, name="up")
    assert run(["up"]) == 1
    assert summary.read_text(encoding="utf-8") == "## labrun up: not ok\n\n**image: no &lt;room&gt; left**\n"


def test_what_prints_no_rows_adds_none(summary: Path, tmp_path: Path) -> None:
    lab = "name: demo\nnetworks: {left: {cidr: 10.40.1.0/24}}\nhosts: {one: {networks: {left: dhcp}}}\n"
    (tmp_path / "lab.yaml").write_text(lab, encoding="utf-8")
    done = run_labrun("verify", "--offline", cwd=tmp_path, env={"GITHUB_STEP_SUMMARY": str(summary)})
    assert done.returncode == 0
    assert not summary.exists()


def test_a_named_summary_is_not_added_twice(summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def body(invocation: Invocation) -> Report:
        summary.write_text("## by itself\n", encoding="utf-8")
        return Report("demo", ROWS, is_summarised=True)

    offer(monkeypatch, body, name="verify")
    assert run(["verify"]) == 1
    assert summary.read_text(encoding="utf-8") == "## by itself\n"


def test_a_summary_that_cannot_be_written_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, found, name="verify")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "gone" / "summary.md"))
    assert run(["verify"]) == 1
    seen = capsys.readouterr()
    assert "1 ok, 1 failed in " in seen.out
    assert seen.err.startswith("the job summary was not written: cannot write ")
