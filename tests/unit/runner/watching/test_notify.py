"""Who is told what of a drift run: every change once, and nothing a second time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labrun.errors import HypervisorError, UsageError
from labrun.inventory.file.load import load_lab
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.watching import webhook
from labrun.runner.watching.notify import Notifiers, NotifyOptions, notifiers_of, notify
from labrun.runner.watching.state import read_last_drift
from labrun.runner.watching.webhook import Webhook
from tests.webhook_server import Inbox, webhook_server

FORWARD = ("gate", "sysctl", "net.ipv4.ip_forward")


def report(status: Status = Status.DRIFTED) -> Report:
    return Report("demo", [Outcome(*FORWARD, status, expected="1", actual="0", why="somebody did")])


LAB = "name: demo\nhosts:\n  gate: {address: 192.0.2.1}\n"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    monkeypatch.setattr(webhook, "_PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "*")
    with webhook_server() as server:
        yield server


def told(state: Path, listeners: Notifiers, what: Report, *, skipped: bool = False) -> Report:
    lab = load_lab("-", stdin=io.StringIO(LAB))
    invocation = Invocation("drift", run="R", state_dir=state)
    return notify(what, invocation, lab, listeners, skipped=skipped).report


def changes(inbox: Inbox) -> list[list[tuple[str | None, str | None]]]:
    bodies = [json.loads(request.body) for request in inbox.received]
    return [[(change["before"], change["after"]) for change in body["changes"]] for body in bodies]


def test_a_webhook_hears_of_changes_only(state: Path, inbox: Inbox) -> None:
    listeners = Notifiers(webhook=Webhook(inbox.url, b"secret"))
    for status in (Status.OK, Status.DRIFTED, Status.DRIFTED, Status.CONFLICT, Status.OK, Status.OK):
        told(state, listeners, report(status))
    assert changes(inbox) == [[(None, "drifted")], [("drifted", "conflict")], [("conflict", None)]]


def test_what_a_webhook_gets(state: Path, inbox: Inbox) -> None:
    told(state, Notifiers(webhook=Webhook(inbox.url)), report())
    (request,) = inbox.received
    body: dict[str, Any] = json.loads(request.body)
    assert body.pop("seconds") >= 0
    assert body.pop("labrun")
    assert body == {
        "schema": 1,
        "lab": "demo",
        "command": "drift",
        "run": "R",
        "ok": False,
        "exit_code": 3,
        "counts": {"drifted": 1},
        "changes": [
            {
                "host": "gate",
                "section": "sysctl",
                "name": "net.ipv4.ip_forward",
                "before": None,
                "after": "drifted",
                "expected": "1",
                "actual": "0",
                "why": "somebody did",
            }
        ],
    }
    assert request.headers["X-Labrun-Event"] == "drift"
    assert request.headers["X-Labrun-Delivery"] == "R"


def test_what_could_not_be_told_is_told_by_the_next_run(
    state: Path, inbox: Inbox, capsys: pytest.CaptureFixture[str]
) -> None:
    inbox.codes = [500, 500, 200]
    listeners = Notifiers(webhook=Webhook(inbox.url))
    assert told(state, listeners, report()).exit_code == 3, "the run itself is what it was"
    said = f"warning: webhook {inbox.url}: it answered 500 Internal Server Error\n"
    assert capsys.readouterr().err == said
    told(state, listeners, report())
    told(state, listeners, report())
    assert changes(inbox) == [[(None, "drifted")]] * 3
    assert capsys.readouterr().err == ""


def test_each_listener_is_told_for_itself(state: Path, inbox: Inbox, tmp_path: Path) -> None:
    told(state, Notifiers(webhook=Webhook(inbox.url)), report())
    command = f"cat >>{tmp_path}/seen"
    told(state, Notifiers(webhook=Webhook(inbox.url), on_change=command), report())
    assert len(inbox.received) == 1
    document = json.loads((tmp_path / "seen").read_text())
    assert (document["command"], document["run"], document["exit_code"]) == ("drift", "R", 3)
    assert document["results"][0]["name"] == "net.ipv4.ip_forward"
    assert [(change["before"], change["after"]) for change in document["changes"]] == [(None, "drifted")]


def test_a_command_that_fails_fails_nothing(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert told(state, Notifiers(on_change="exit 9"), report(Status.PENDING)).exit_code == 3
    assert capfd.readouterr().err == "warning: --on-change: the command ended with exit code 9\n"


def test_a_run_that_could_not_be_is_told_too(state: Path, inbox: Inbox, tmp_path: Path) -> None:
    listeners = Notifiers(tmp_path / "x.prom", Webhook(inbox.url))
    told(state, listeners, report())
    broken = Report("demo", error=HypervisorError("libvirtd is gone"))
    for _ in range(2):
        assert told(state, listeners, broken).exit_code == 5
    told(state, listeners, report())
    assert changes(inbox) == [[(None, "drifted")], [(None, "failed")], [("failed", None)]]
    (failed,) = [json.loads(request.body) for request in inbox.received[1:2]]
    assert failed["error"] == "libvirtd is gone"
    assert failed["changes"][0]["section"] == "run"
    assert 'labrun_run_success{lab="demo"} 1.0\n' in (tmp_path / "x.prom").read_text()


def test_the_document_says_what_changed_since_the_last_run(state: Path) -> None:
    found = [
        told(state, Notifiers(), report(status)).extra["changes"] for status in (Status.OK, Status.DRIFTED)
    ]
    host, section, name = FORWARD
    change = {"host": host, "section": section, "name": name, "before": None, "after": "drifted"}
    assert found == [[], [change]]


def test_what_a_run_put_right_is_told_once(state: Path, inbox: Inbox) -> None:
    listeners = Notifiers(webhook=Webhook(inbox.url))
    told(state, listeners, report(Status.CHANGED))
    told(state, listeners, report(Status.OK))
    told(state, listeners, report(Status.DRIFTED))
    told(state, listeners, report(Status.CHANGED))
    told(state, listeners, report(Status.OK))
    assert changes(inbox) == [[(None, "changed")], [(None, "drifted")], [("drifted", "changed")]]


def test_a_run_that_was_left_out_replaces_nothing(state: Path, inbox: Inbox, tmp_path: Path) -> None:
    listeners = Notifiers(tmp_path / "x.prom", Webhook(inbox.url))
    told(state, listeners, report())
    before = read_last_drift(state / "drift" / "demo.json")
    assert before is not None
    skipped = Report("demo", [Outcome("gate", "drift", "gate", Status.SKIPPED)])
    assert told(state, listeners, skipped, skipped=True) is skipped
    assert read_last_drift(state / "drift" / "demo.json") == before
    assert len(inbox.received) == 1
    text = (tmp_path / "x.prom").read_text()
    assert 'labrun_run_skipped{lab="demo"} 1.0\n' in text
    assert 'labrun_drift_items{host="gate",lab="demo",section="sysctl"} 1.0\n' in text


def test_metrics_that_cannot_be_written_fail_nothing(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gone" / "x.prom"
    assert told(state, Notifiers(path), report(Status.OK)).exit_code == 0
    assert capsys.readouterr().err == f"warning: cannot write the metrics {path}: No such file or directory\n"


def test_a_secret_without_a_webhook_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        notifiers_of(NotifyOptions(webhook_secret="env:HOME"))
    assert caught.value.reason == "--webhook-secret signs what --webhook sends"
