"""The log excerpt: what is kept of a journal, what is labrun's own, and that it stays small."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from pathlib import Path

import pytest

from labrun.tasks.drift.journal import Line, Logged, journal_script, read_journal

KEY = "SHA256:FLsbGG4GdNDRA2LEQ6hbkC8aiMEAHG"
ACCEPTED = f"Accepted publickey for lab from 10.65.0.1 port 45020 ssh2: ED25519 {KEY}"
OWN = "     lab : PWD=/home/lab ; USER=root ; COMMAND=/usr/bin/sh -s"
BY_HAND = (
    "     lab : PWD=/home/lab ; USER=root ; COMMAND=/usr/bin/nmcli connection modify labrun-left mtu 1400"
)
AUDIT = '<info>  [17.1] audit: op="connection-update" name="labrun-left" pid=157 uid=0 result="success"'


def output(*entries: tuple[str, object], since: int = 1795648000) -> str:
    lines = [
        json.dumps(
            {"__REALTIME_TIMESTAMP": str((since + n) * 1_000_000), "SYSLOG_IDENTIFIER": who, "MESSAGE": text}
        )
        for n, (who, text) in enumerate(entries)
    ]
    return f"\nm since {since}\n\nm out log\n" + "\n".join(lines) + "\n\nm status log 0\n\nm end\n"


def read(*entries: tuple[str, object]) -> list[tuple[str, bool]]:
    return [(line.text, line.labrun) for line in read_journal(output(*entries), "m", "lab", KEY).lines]


def test_labruns_own_sessions_are_marked_and_a_persons_are_not() -> None:
    found = read(
        ("sshd", ACCEPTED),
        ("sudo", OWN),
        ("sshd", ACCEPTED),
        ("sudo", BY_HAND),
        ("NetworkManager", AUDIT),
        ("sshd", "Accepted password for root from 10.65.0.7 port 1 ssh2"),
    )
    assert found == [
        (ACCEPTED, True),
        (OWN, True),
        (ACCEPTED, False),
        (BY_HAND, False),
        (AUDIT, False),
        ("Accepted password for root from 10.65.0.7 port 1 ssh2", False),
    ]


def test_what_says_nothing_of_changes_is_left_out() -> None:
    assert (
        read(
            ("sudo", "pam_unix(sudo:session): session opened for user root(uid=0) by (uid=1000)"),
            ("NetworkManager", "<info> [17.2] device (eth0): Activation: successful"),
            ("sshd", "pam_unix(sshd:session): session closed for user lab"),
        )
        == []
    )


def test_the_excerpt_is_bounded_and_says_how_much_it_leaves_out() -> None:
    many = [("sudo", f"{BY_HAND} {n}" + "x" * 900) for n in range(50)]
    found = read_journal(output(*many, *[("sudo", OWN)] * 30), "m", "lab", KEY)
    assert (len(found.lines), found.left_out) == (24, 30)
    assert all(len(line.text) == 400 for line in found.lines if not line.labrun)


def test_lines_that_are_no_entries_and_bytes_that_are_no_text_do_no_harm() -> None:
    entries = output(("sudo", [*b"     lab : COMMAND=\xff"]), ("sudo", 7))
    cut = entries.replace("out log\n", 'out log\nATION":"x"}\n')
    (line,) = read_journal(cut, "m", "lab", KEY).lines
    assert line.text.endswith("COMMAND=�")


def test_a_script_that_broke_off_tells_nothing() -> None:
    assert read_journal("\nm since 1\n", "m", "lab", KEY) == Logged()


def test_the_script_asks_from_the_record_on_or_from_a_time() -> None:
    assert "since=0\n" in journal_script(0.0, "m")
    assert "since=1795648000\n" in journal_script(1795648000.7, "m")


def test_what_was_logged_stands_in_the_document_with_times_as_text() -> None:
    line = Line(1795648000.5, "sudo", BY_HAND)
    assert Logged(1795640000.0, (line,), 3).as_json() == {
        "since": "2026-11-25T20:53:20Z",
        "lines": [
            {"time": "2026-11-25T23:06:40Z", "source": "sudo", "text": BY_HAND, "labrun": False},
        ],
        "left_out": 3,
        "clock_ahead": 0,
    }
    assert Logged().as_json() == {"since": None, "lines": [], "left_out": 0, "clock_ahead": 0}


def test_a_secret_in_a_quoted_line_is_masked() -> None:
    from labrun.secrets import Secrets

    log = read_journal(output(("sudo", f"{BY_HAND} psk hunter2hunter2")), "m", "lab", KEY)
    (line,) = log.masked(Secrets.of(["hunter2hunter2"])).lines
    assert "hunter2" not in line.text
    assert line.source == "sudo"


def entry(**changes: object) -> str:
    given = {"__REALTIME_TIMESTAMP": "1795648000000000", "SYSLOG_IDENTIFIER": "sudo", "MESSAGE": BY_HAND}
    return json.dumps({**given, **changes})


STRANGE = [
    entry(__REALTIME_TIMESTAMP="9" * 26),
    entry(__REALTIME_TIMESTAMP="9" * 5000),
    entry(__REALTIME_TIMESTAMP="-1"),
    entry(__REALTIME_TIMESTAMP=1e300),
    entry(__REALTIME_TIMESTAMP=None),
    entry(__REALTIME_TIMESTAMP=[]),
    entry(MESSAGE=1_000_000_000),
    entry(MESSAGE=True),
    entry(MESSAGE={"a": 1}),
    entry(MESSAGE=None),
    entry(MESSAGE=["x"]),
    entry(MESSAGE=[256, -1, 1e9]),
    entry(SYSLOG_IDENTIFIER=["sudo"]),
    entry(SYSLOG_IDENTIFIER={"sudo": 1}),
    "[" * 100_000,
    '{"MESSAGE": ' * 1000,
    "null",
    "[]",
    '"text"',
    "1" * 5000,
    "{",
]


@pytest.mark.parametrize("line", STRANGE, ids=lambda line: line[:50])
def test_a_line_that_no_journal_has_is_left_out(line: str) -> None:
    text = f"\nm since 0\n\nm out log\n{entry()}\n{line}\n{entry()}\n\nm status log 0\n\nm end\n"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert [each.text for each in read_journal(text, "m", "lab", KEY).lines] == [BY_HAND] * 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize("since", ["9" * 26, "9" * 5000, "²", "-1", "x", ""])
def test_a_beginning_that_no_clock_shows_is_none(since: str) -> None:
    text = f"\nm since {since}\n\nm out log\n\nm status log 0\n\nm end\n"
    assert read_journal(text, "m", "lab", KEY).since == 0.0


def test_bytes_that_are_no_utf8_are_read_as_far_as_they_are_kept() -> None:
    message = [*b"COMMAND=/usr/bin/\xff", *[65] * 50_000]
    text = f"\nm since 0\n\nm out log\n{entry(MESSAGE=message)}\n\nm status log 0\n\nm end\n"
    (line,) = read_journal(text, "m", "lab", KEY).lines
    assert line.text == "COMMAND=/usr/bin/\ufffd" + "A" * 382


def test_more_lines_than_were_asked_for_take_no_time() -> None:
    lines = f"{entry(SYSLOG_IDENTIFIER='sshd', MESSAGE=ACCEPTED)}\n" * 30_000
    began = time.process_time()
    found = read_journal(f"\nm since 0\n\nm out log\n{lines}\n\nm status log 0\n\nm end\n", "m", "lab", KEY)
    assert time.process_time() - began < 3
    assert len(found.lines) == 20


def test_what_a_clock_starts_is_kept_once_and_crowds_out_nothing() -> None:
    flip = "(root) CMD (sysctl -w net.ipv4.ip_forward=0)"
    entries = [("CRON", flip), ("sudo", BY_HAND), ("CRON", flip)]
    assert read(*entries) == [(BY_HAND, False), (flip, False)]
    assert [text for text, _ in read(*[("systemd", text) for text in STARTED])] == STARTED[:3]
    many = [("systemd", f"Started own-{n}.service - X.") for n in range(30)]
    found = read(*[("sudo", f"{BY_HAND} {n}") for n in range(20)], *many)
    assert len(found) == 26
    assert found[-1][0] == many[-1][1]


STARTED = [
    "Started flip.service - Sets it back.",
    "Finished flip.service.",
    "Started run-r4b.service - /bin/sh -c x.",
    "Started session-12.scope - Session 12 of User lab.",
    "Started user@1000.service - User Manager for UID 1000.",
    "Started labrun-guard-x.service - x.",
    "Finished apt-daily.service - Daily apt download activities.",
    "Stopped flip.service - Sets it back.",
    "Started getty@tty1.service - Getty on tty1.",
]


DAY = 86400


@pytest.mark.parametrize(
    ("ahead", "applied", "asked"),
    [
        (0, -3 * DAY, -DAY),
        (0, -60, -60),
        (2, -60, -60),
        (-6 * 365 * DAY, -3 * DAY, -6 * 365 * DAY - DAY),
        (9 * 365 * DAY, -3 * DAY, 9 * 365 * DAY - DAY),
        # Applied while the clock was right: by the one that was set back, that is yet to come.
        (-30 * DAY, -60, -31 * DAY),
        (-30 * DAY, -30 * DAY - 60, -30 * DAY - 60),
    ],
)
def test_the_log_is_asked_for_by_the_clock_of_the_host(
    tmp_path: Path, ahead: int, applied: int, asked: int
) -> None:
    now = int(time.time())
    answers = {
        "date": f"echo {now + ahead}",
        "stat": f"echo {now + applied}",
        "journalctl": f'echo "$*" >{tmp_path}/asked',
    }
    for name, text in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = f"PATH={tmp_path}:$PATH\n{journal_script(now - DAY, 'm')}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    found = read_journal(done.stdout, "m", "lab", KEY)
    since = int((tmp_path / "asked").read_text().split("--since @")[1].split()[0])
    assert abs(since - now - asked) <= 3
    assert found.since == since
    assert abs(found.ahead - ahead) <= 3
    assert found.as_json()["clock_ahead"] == found.ahead
