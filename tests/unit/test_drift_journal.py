"""The log excerpt: what is kept of a journal, what is labrun's own, and that it stays small."""

from __future__ import annotations

import json

from labrun.tasks.drift.journal import journal_script, read_journal

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
    return [
        (line["text"], line["labrun"]) for line in read_journal(output(*entries), "m", "lab", KEY)["lines"]
    ]


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
    assert (len(found["lines"]), found["left_out"]) == (24, 30)
    assert all(len(line["text"]) == 400 for line in found["lines"] if not line["labrun"])


def test_lines_that_are_no_entries_and_bytes_that_are_no_text_do_no_harm() -> None:
    entries = output(("sudo", [*b"     lab : COMMAND=\xff"]), ("sudo", 7))
    cut = entries.replace("out log\n", 'out log\nATION":"x"}\n')
    (line,) = read_journal(cut, "m", "lab", KEY)["lines"]
    assert line["text"].endswith("COMMAND=�")


def test_a_script_that_broke_off_tells_nothing() -> None:
    assert read_journal("\nm since 1\n", "m", "lab", KEY) == {"since": 0.0, "lines": [], "left_out": 0}


def test_the_script_asks_from_the_record_on_or_from_a_time() -> None:
    assert "since=0\n" in journal_script(0.0, "m")
    assert "since=1795648000\n" in journal_script(1795648000.7, "m")


def test_a_secret_in_a_quoted_line_is_masked() -> None:
    from labrun.runner.drift import masked_log
    from labrun.secrets import Secrets

    log = read_journal(output(("sudo", f"{BY_HAND} psk hunter2hunter2")), "m", "lab", KEY)
    (line,) = masked_log(log, Secrets.of(["hunter2hunter2"]))["lines"]
    assert "hunter2" not in line["text"]
    assert line["source"] == "sudo"
