"""The JSON document: one shape for every command, valid whatever a guest said."""

from __future__ import annotations

import json

import pytest

from labrun import __version__
from labrun.errors import HypervisorError, LabrunError, UnreachableError, UsageError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.document import as_text, document
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report

OK = Outcome("host01", "route", "default", Status.OK, "via 10.0.0.1", "via 10.0.0.1", seconds=0.12345)
FAILED = Outcome("host01", "path", "a -> b", Status.FAILED, "1 2", "1 *", "why", None, 1.1)


def row(status: Status) -> Outcome:
    return Outcome("h", "s", "n", status)


def test_the_document_has_every_member_in_order() -> None:
    found = document(Report("demo", [FAILED, OK]), Invocation("verify", run="R"))
    assert list(found) == [
        "schema",
        "labrun",
        "lab",
        "command",
        "run",
        "ok",
        "exit_code",
        "seconds",
        "results",
    ]
    assert isinstance(found["seconds"], float)
    assert found["seconds"] < 10
    assert {**found, "seconds": 0} == {
        "schema": 1,
        "labrun": __version__,
        "lab": "demo",
        "command": "verify",
        "run": "R",
        "ok": False,
        "exit_code": 1,
        "seconds": 0,
        "results": [
            {
                "host": "host01",
                "section": "path",
                "name": "a -> b",
                "status": "failed",
                "expected": "1 2",
                "actual": "1 *",
                "why": "why",
                "diff": None,
                "seconds": 1.1,
            },
            {
                "host": "host01",
                "section": "route",
                "name": "default",
                "status": "ok",
                "expected": "via 10.0.0.1",
                "actual": "via 10.0.0.1",
                "why": None,
                "diff": None,
                "seconds": 0.123,
            },
        ],
    }


def test_further_members_come_last_and_replace_none() -> None:
    found = document(Report("demo", extra={"hosts": [1]}), Invocation("status"))
    assert list(found)[-1] == "hosts"
    with pytest.raises(ValueError, match="extra members would replace ok, run"):
        document(Report("demo", extra={"run": 1, "ok": 2}), Invocation("status"))


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report(), 0),
        (Report(outcomes=[OK, row(Status.CHANGED), row(Status.SKIPPED), row(Status.WARNING)]), 0),
        (Report(outcomes=[row(Status.PENDING), row(Status.UNKNOWN)]), 4),
        (Report(outcomes=[row(Status.WOULD_CHANGE)]), 3),
        (Report(outcomes=[row(Status.UNREACHABLE), row(Status.ROLLED_BACK)]), 1),
        (Report(outcomes=[FAILED], error=HypervisorError("x")), 5),
        (Report(outcomes=[FAILED], error=UnreachableError("x")), 1),
        (Report(outcomes=[row(Status.PENDING)], error=UnreachableError("x")), 4),
        (Report(outcomes=[OK], error=LabrunError("x")), 1),
        (Report(outcomes=[FAILED], error=UsageError("x")), 2),
        (Report(outcomes=[FAILED], interrupted=True), 130),
        (Report(outcomes=[FAILED], code=0), 0),
        (Report(code=77), 77),
    ],
)
def test_ok_is_true_exactly_when_the_exit_code_is_0(report: Report, code: int) -> None:
    found = document(report, Invocation("x"))
    assert (found["exit_code"], found["ok"]) == (code, code == 0)


@pytest.mark.parametrize("text", ["é", "\ud800", "\U0001f600", "\x00\x1b[31m", 'a"b\n'])
def test_any_text_survives_any_encoding(text: str) -> None:
    outcome = Outcome("h", "s", "n", Status.FAILED, why=text)
    written = as_text(document(Report(outcomes=[outcome]), Invocation("x"))).encode("ascii")
    assert json.loads(written)["results"][0]["why"] == text


def test_a_document_of_a_loop_is_one_line() -> None:
    content = document(Report("demo", [FAILED, OK]), Invocation("drift"))
    written = as_text(content, one_line=True)
    assert written.count("\n") == 1
    assert json.loads(written) == json.loads(as_text(content)) == content
