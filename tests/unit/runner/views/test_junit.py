"""JUnit XML: accepted by a strict schema, each verdict where CI systems look for it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import pytest

from labrun.outcome import Outcome, Status
from labrun.runner.views.junit import junit
from tests import places
from tests.unit.verify_cases import captured

if TYPE_CHECKING:
    from xmlschema import XMLSchema

RUN = "2026-11-20T16:00:00Z-3f2a"


@cache
def schema() -> XMLSchema:
    # Not while the tests are collected, which every worker does.
    from xmlschema import XMLSchema

    return XMLSchema(str(places.RECORDED / "junit" / "junit.xsd"))


def parsed(rows: Sequence[Outcome]) -> ET.Element:
    """Return the document that the schema has accepted."""
    text = junit("lab", "verify", RUN, rows, 3.2)
    schema().validate(text)
    return ET.fromstring(text)


@pytest.mark.parametrize("name", ["ok", "broken"])
def test_what_verify_found_is_accepted_and_nothing_is_lost(name: str) -> None:
    rows = captured(name).rows
    root = parsed(rows)
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["host00", "host01", "host02", "host03", "host04"]
    assert (
        sum(int(suite.get("tests", "")) for suite in suites) == len(rows) == len(root.findall(".//testcase"))
    )
    for attribute, element in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        counted = [int(suite.get(attribute, "")) for suite in suites]
        assert counted == [len(suite.findall(f"testcase/{element}")) for suite in suites]


def test_the_broken_lab_has_its_failures_and_errors() -> None:
    root = parsed(captured("broken").rows)
    found = {suite.get("name"): (suite.get("failures"), suite.get("errors")) for suite in root}
    assert found == {
        "host00": ("1", "1"),
        "host01": ("2", "0"),
        "host02": ("2", "0"),
        "host03": ("2", "1"),
        "host04": ("0", "20"),
    }
    (failure,) = root.findall("testsuite/testcase[@name='path host01 -> host03']/failure")
    assert failure.attrib == {"message": "host00: net.ipv4.ip_forward is 0", "type": "failed"}
    assert failure.text == (
        "expected: 10.201.0.254 10.201.128.11\ngot: *\nwhy: host00: net.ipv4.ip_forward is 0"
    )


@pytest.mark.parametrize(
    ("status", "element"),
    [
        (Status.OK, None),
        (Status.CHANGED, None),
        (Status.WARNING, None),
        (Status.SKIPPED, "skipped"),
        (Status.FAILED, "failure"),
        (Status.ROLLED_BACK, "failure"),
        (Status.DRIFTED, "failure"),
        (Status.UNREACHABLE, "error"),
        (Status.UNKNOWN, "error"),
    ],
)
def test_each_status_has_its_verdict(status: Status, element: str | None) -> None:
    (case,) = parsed([Outcome("h", "path", "h -> i", status, "1", "2")]).findall(".//testcase")
    assert [child.tag for child in case] == ([element] if element else [])


def test_a_warning_passes_and_is_said() -> None:
    root = parsed([Outcome("h", "check", "web", Status.WARNING, "open", "refused", "nobody listens")])
    assert root.findtext("testsuite/system-out") == "warning: nobody listens\n"
    assert root[0].get("failures") == "0"


def test_without_a_reason_the_message_says_what_differs() -> None:
    (failure,) = parsed([Outcome("h", "sysctl", "a.b", Status.FAILED, "1", None)]).findall(".//failure")
    assert failure.get("message") == "expected 1, got nothing"


def test_what_a_guest_said_cannot_break_the_document() -> None:
    hostile = "]]><x a='\x00\x1b[31m\ud800\ufffe&\""
    row = Outcome("h", "check", hostile, Status.FAILED, hostile, hostile, hostile, hostile)
    (failure,) = parsed([row]).findall(".//failure")
    assert "]]><x a='" in (failure.get("message") or "")
    assert "\x1b" not in (failure.text or "")


def test_the_time_is_that_of_the_run() -> None:
    (suite,) = parsed([Outcome("h", "path", "h -> i", Status.OK, seconds=1.25)])
    assert (suite.get("timestamp"), suite.get("time")) == ("2026-11-20T16:00:00", "1.250")


def test_the_totals_are_those_of_all_suites() -> None:
    rows = captured("broken").rows
    root = parsed(rows)
    assert (root.get("name"), root.get("time")) == ("labrun verify: lab", "3.200")
    for attribute in ("tests", "failures", "errors"):
        assert int(root.get(attribute, "")) == sum(int(suite.get(attribute, "")) for suite in root), attribute
    assert int(root.get("tests", "")) == len(rows)
    assert int(root.get("errors", "")) > 20


def test_no_rows_are_no_suites() -> None:
    assert list(parsed([])) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("timestamp=", "when="),
        ('time="3.200"', 'time="soon"'),
        ('failures="1"', 'failures="-1"'),
        ("<properties>", "<system-out /><properties>"),
    ],
)
def test_the_schema_refuses_what_is_wrong(before: str, after: str) -> None:
    good = junit("lab", "verify", RUN, captured("broken").rows, 3.2)
    assert schema().is_valid(good)
    assert before in good
    assert not schema().is_valid(good.replace(before, after))
