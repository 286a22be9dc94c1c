"""Where the results of a verify go besides the table."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from labrun.runner.cli.document import as_text, document
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.commands.verify.outputs import with_outputs
from tests.unit.verify_cases import captured

VERIFY = Invocation("verify", run="2026-11-20T16:00:00Z-3f2a")


def written(
    name: str = "broken", *, junit: Path | None = None, markdown: Path | None = None, matrix: bool = False
) -> Report:
    case = captured(name)
    report = Report(case.lab.name, case.rows, notes=["a note"])
    return with_outputs(report, case.lab, VERIFY, junit=junit, markdown=markdown, matrix=matrix)


def test_nothing_asked_for_leaves_the_report_as_it_is() -> None:
    report = written()
    assert (report.notes, dict(report.extra), report.error) == (["a note"], {}, None)


def test_the_matrix_stands_below_the_table_and_in_the_document() -> None:
    report = written(matrix=True)
    assert list(report.notes[:2]) == ["a note", ""]
    assert report.notes[2].startswith("from \\ to  1  2  3  4  5\n1 host00      1  1  1  !\n")
    assert len(json.loads(as_text(document(report, VERIFY)))["matrix"][0]["pairs"]) == 20


def test_files_are_replaced(tmp_path: Path) -> None:
    junit, markdown = tmp_path / "junit.xml", tmp_path / "summary.md"
    for _ in range(2):
        assert written(junit=junit, markdown=markdown).error is None
    assert len(ET.fromstring(junit.read_text(encoding="utf-8"))) == 5
    assert markdown.read_text(encoding="utf-8").count("## labrun verify: captured: not ok") == 1


def test_the_job_summary_is_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# from the step before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    written("ok", markdown=summary)
    written("broken", markdown=summary)
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("# from the step before\n## labrun verify: captured: ok\n")
    assert "## labrun verify: captured: not ok" in text


def test_what_cannot_be_written_is_said_with_the_results(tmp_path: Path) -> None:
    report = written("ok", junit=tmp_path / "missing" / "junit.xml")
    assert report.error is not None
    assert report.error.reason == f"cannot write {tmp_path}/missing/junit.xml: No such file or directory"
    assert (len(report.outcomes), report.exit_code) == (105, 1)
