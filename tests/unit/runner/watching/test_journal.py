"""Entries for the journal, received by a socket that stands in its place."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from labrun.errors import HypervisorError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.watching.journal import encoded, entries, is_journal, log_entry
from labrun.runner.watching.state import Change

KEY = ("gate", "sysctl", "net.ipv4.ip_forward")


def test_an_entry_arrives_as_the_native_protocol_has_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        log_entry({"MESSAGE": "one", "PRIORITY": 4}, tmp_path / "socket")
        assert journal.recv(4096) == b"MESSAGE=one\nPRIORITY=4\nSYSLOG_IDENTIFIER=labrun\n"


def test_a_value_of_several_lines_carries_its_length() -> None:
    assert encoded({"MESSAGE": "a\nb=c", "X": "1"}) == b"MESSAGE\n\x05\0\0\0\0\0\0\0a\nb=c\nX=1\n"


def test_a_journal_that_is_not_there_is_nobodys_error(tmp_path: Path) -> None:
    log_entry({"MESSAGE": "x"}, tmp_path / "missing")


def test_the_stream_that_systemd_names_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stream").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert is_journal()
        # A child whose output was redirected inherits the variable and means another stream.
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        assert not is_journal()
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not is_journal()


def test_what_a_guest_says_cannot_hide_an_entry_or_look_like_another() -> None:
    hostile = "x\ndemo: 5 ok\r\x1b[2J\0\u202e" + "y" * 10_000_000
    key = ("gate", "ssh_keys", hostile)
    rows = [Outcome(*key, Status.DRIFTED, expected="1", actual=hostile)]
    first, last = entries(
        Report("demo", rows), Invocation("drift"), "demo", [Change(key, None, Status.DRIFTED)]
    )
    assert len(encoded(first)) < 20_000
    for field in ("MESSAGE", "LABRUN_NAME"):
        assert str(first[field]).isprintable()
        assert str(first[field]).endswith("y\N{HORIZONTAL ELLIPSIS}")
    assert str(first["MESSAGE"]).startswith("demo: gate: ssh_keys x demo: 5 ok\\x0d\\x1b[2J\\x00\\u202ey")
    assert str(last["MESSAGE"]).startswith("demo: 1 drifted in ")


def test_a_run_is_one_entry_and_each_change_another() -> None:
    rows = [
        Outcome(*KEY, Status.DRIFTED, expected="1", actual="0"),
        Outcome("one", "nmcli", "left", Status.OK),
    ]
    changes = [Change(KEY, None, Status.DRIFTED), Change(("one", "nmcli", "left"), Status.PENDING, None)]
    shared = {"LABRUN_LAB": "demo", "LABRUN_RUN": "R"}
    first, second, last = entries(Report("demo", rows), Invocation("drift", run="R"), "demo", changes)
    assert first == {
        **shared,
        "MESSAGE": "demo: gate: sysctl net.ipv4.ip_forward: drifted (expected 1, got 0)",
        "PRIORITY": 4,
        "LABRUN_HOST": "gate",
        "LABRUN_SECTION": "sysctl",
        "LABRUN_NAME": "net.ipv4.ip_forward",
        "LABRUN_STATUS": "drifted",
        "LABRUN_BEFORE": "ok",
    }
    assert (second["MESSAGE"], second["PRIORITY"]) == ("demo: one: nmcli left: ok", 5)
    assert last["PRIORITY"] == 4
    assert str(last["MESSAGE"]).startswith("demo: 1 ok, 1 drifted in ")
    assert last["LABRUN_EXIT_CODE"] == 3


def test_the_priority_is_that_of_the_exit_code() -> None:
    def priority(report: Report) -> tuple[str | int, str | int]:
        (entry,) = entries(report, Invocation("drift"), "demo", [])
        return entry["PRIORITY"], entry["LABRUN_EXIT_CODE"]

    assert priority(Report("demo", [Outcome(*KEY, Status.OK)])) == (6, 0)
    assert priority(Report("demo", [Outcome(*KEY, Status.UNREACHABLE)])) == (3, 4)
    assert priority(Report("demo", error=HypervisorError("libvirtd is gone"))) == (3, 5)
