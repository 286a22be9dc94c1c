"""The question before a loss: asked on a terminal, answered by -y, refused where nobody can be asked."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

ASK = """
import sys
from labrun.errors import LabrunError
from labrun.progress import report
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.progress import progress
from labrun.runner.cli.invocation import Invocation
invocation = Invocation("down", yes="yes" in sys.argv)
with progress(["host00"], invocation):
    report("host00", "busy")
    try:
        confirm(invocation, "Remove these?", ["machine host00"])
    except LabrunError as error:
        print(f"{error.exit_code} {error.reason} | {error.hint}")
    else:
        print("agreed")
"""


def ask_on_terminal(answer: bytes, *args: str) -> tuple[str, str]:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm"}
    command = [sys.executable, "-c", ASK, *args]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=env) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            if b"[y/N]" in seen + chunk and b"[y/N]" not in seen:
                os.write(ours, answer)
            seen += chunk
        os.close(ours)
        out, _ = process.communicate(timeout=60)
    return out.decode(), seen.decode()


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"y\n", "agreed\n"),
        (b"n\n", "1 not confirmed, nothing was done | None\n"),
        (b"\n", "1 not confirmed, nothing was done | None\n"),
    ],
)
def test_a_person_is_asked(answer: bytes, result: str) -> None:
    out, seen = ask_on_terminal(answer)
    assert out == result
    assert "  machine host00" in seen
    question = seen.rindex("Remove these?")
    assert seen.rindex("\x1b[?25h", 0, question) > seen.rindex("\x1b[?25l", 0, question), (
        "no display in its way"
    )


def test_yes_answers_without_a_question() -> None:
    out, seen = ask_on_terminal(b"", "yes")
    assert out == "agreed\n"
    assert "Remove these?" not in seen


def test_without_a_terminal_it_takes_a_yes() -> None:
    command = [sys.executable, "-c", ASK]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True
    )
    assert (
        done.stdout == "2 Remove these? This needs confirmation, and there is no terminal | -y confirms it\n"
    )
    done = subprocess.run(
        [*command, "yes"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "agreed\n"
