"""A console's line, with a real shell behind a login that is played: prompts, pieces, marks."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.errors import AuthenticationError, ConnectionLostError, UnreachableError
from labrun.tasks.provision import console
from labrun.tasks.provision.console import ConsoleTransport, Line, Login, log_in

# What stands for getty and login: it asks as they do, and starts a shell.
GETTY = """\
import getpass, os, time
# The first terminal that a session opens is its own, which getpass asks.
os.close(os.open(os.ttyname(0), os.O_RDWR))
print("[    1.0] boot messages" * 50)
while True:
    user = input("\\r\\nDebian GNU/Linux 12 one console\\n\\none login: ")
    if not user:
        continue
    word = getpass.getpass("Password: ")
    if (user, word) == ("lab", "secret"):
        break
    time.sleep(0.1)
    print("\\nLogin incorrect")
os.environ.update(PS1="\\x1b[?2004hlab@one:~$ ", ENV="")
os.execvp("sh", ["sh", "-i"])
"""
LOGIN = Login("lab", "secret")


@pytest.fixture
def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sudo"
    program.write_text('#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.fixture
def line() -> Iterator[Line]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", GETTY],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    yield Line("one", ours)
    process.kill()
    process.wait()
    os.close(ours)


def transport(line: Line, monkeypatch: pytest.MonkeyPatch, login: Login = LOGIN) -> ConsoleTransport:
    from contextlib import nullcontext

    monkeypatch.setattr(console, "opened", lambda *_words: nullcontext(line))
    return ConsoleTransport("one", "qemu:///system", "lab-one", login)


def test_a_script_runs_with_its_status_and_both_streams(
    line: Line, sudo: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo out; echo é >&2; cat; # " + "x" * 5000 + "\nexit 7"
    done = transport(line, monkeypatch).run(script, timeout=90)
    assert (done.exit_status, done.stdout, done.stderr) == (7, "out\n", "é\n")


def test_long_output_comes_whole(line: Line, sudo: None, monkeypatch: pytest.MonkeyPatch) -> None:
    done = transport(line, monkeypatch).run("seq 1 20000", timeout=90)
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 20001))


def test_a_wrong_password_is_refused(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AuthenticationError, match="its console does not accept the lab's login as lab"):
        transport(line, monkeypatch, Login("lab", "wrong")).run("true", timeout=90)


def test_who_is_logged_in_already_is_not_asked(line: Line) -> None:
    log_in(line, LOGIN, time.monotonic() + 90)
    log_in(line, Login("nobody", ""), time.monotonic() + 90)


def test_a_console_that_asks_for_nothing() -> None:
    ours, theirs = pty.openpty()
    try:
        with pytest.raises(UnreachableError, match="nothing on its console asks for a login"):
            log_in(Line("one", ours), LOGIN, time.monotonic() + 1)
    finally:
        os.close(theirs)
        os.close(ours)


def test_a_console_that_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    os.write(theirs, b"error: Active console session exists for this domain\n")
    os.close(theirs)
    with pytest.raises(ConnectionLostError, match="the console closed: error: Active console session exists"):
        log_in(Line("one", ours), LOGIN, time.monotonic() + 30)
    os.close(ours)


@pytest.mark.full
def test_a_script_without_an_end(line: Line, sudo: None, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(line, LOGIN, time.monotonic() + 90)
    with pytest.raises(ConnectionLostError, match="the script did not finish in time"):
        transport(line, monkeypatch).run("sleep 60", timeout=8)
