"""What a guest prints, in the outputs that people or programs read: none of it is taken for labrun's."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import pytest

from labrun.outcome import Outcome, Status
from labrun.runner.cli.report import Report
from labrun.runner.views.github import Places, workflow_commands
from labrun.runner.views.junit import junit
from labrun.runner.views.markdown import markdown
from labrun.runner.views.table import render
from tests.hostile import HOSTILE

TEXTS = (
    *HOSTILE,
    "::error title=no::x\n::stop-commands::y",
    "##[error]x\n::add-mask::demo",
    "</failure><testcase name='no'/>",
    "<script>alert(1)</script> ![x](http://a.invalid/) @everyone | a |\n## ok",
    "nul \0 and \x9b31m and \u2066 isolate \u061c \u200f mark",
    "```\n# no heading\n```",
)
# Whatever moves the cursor, reorders or hides text.
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def rows(text: str) -> list[Outcome]:
    shown = Outcome("one", "ssh_keys", text or "-", Status.DRIFTED, text, text, text, text)
    return [shown, Outcome("two", "check", "c", Status.OK, actual=text)]


@pytest.mark.parametrize("text", TEXTS)
def test_the_table_has_no_control_character_and_no_bidirectional_one(text: str) -> None:
    shown = render(rows(text), stream=io.StringIO(), color=False, diff=True, every_row=True)
    assert not HIDDEN.search(shown)


@pytest.mark.parametrize("text", TEXTS)
def test_each_workflow_command_is_labrun_s_own(text: str) -> None:
    lines = workflow_commands(Report("demo", rows(text)), "drift", Places()).split("\n")
    assert (len(lines), lines[0].startswith("::warning title=labrun drift"), lines[1]) == (2, True, "")
    assert not HIDDEN.search(lines[0])


@pytest.mark.parametrize("text", TEXTS)
def test_junit_has_labrun_s_cases_alone(text: str) -> None:
    document = junit("demo", "drift", "2026-11-20T16:00:00Z-3f2a", rows(text), 1.0)
    root = ET.fromstring(document)
    assert [case.tag for suite in root for case in suite.iter("testcase")] == ["testcase"] * 2
    assert root.get("tests") == "2"
    assert not HIDDEN.search("".join(root.itertext()))


@pytest.mark.parametrize("text", TEXTS)
def test_the_summary_has_labrun_s_headings_links_and_elements_alone(text: str) -> None:
    shown = markdown("demo", "drift", ["one", "two"], rows(text), 1.0, ok=False)
    assert not HIDDEN.search(shown)
    assert [line for line in shown.splitlines() if line.startswith("#")] == shown.splitlines()[:1]
    assert "](" not in shown
    assert "<script" not in shown
    assert "@everyone" not in shown
