"""Numbers that nobody can mean, and text of others that would command a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.options import BoundedNumber, global_options
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import harmless
from labrun.runner.history.paths import history_path
from labrun.runner.history.recording import Recording
from labrun.runner.main import VERBS, cli
from labrun.runner.verb import VerbGroup
from tests.unit.command_line import run_labrun

LAB = "name: demo\nhosts: {a: {address: 127.0.0.1, ssh: {port: 1}, sshd: false}}\n"
GIANTS = ("999999999999999999999", "9" * 400, "-999999999999999999999", "1e999", "nan", "0x10")


def commands() -> list[tuple[str, click.Command]]:
    ctx = click.Context(cli)
    found = []
    for name in VERBS:
        command = cli.get_command(ctx, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, VerbGroup):
            found += [(f"{name} {each}", command.commands[each]) for each in command.commands]
    return found


def numbers() -> list[tuple[str, str]]:
    return [
        (name, max(param.opts, key=len))
        for name, command in commands()
        for param in command.params
        if isinstance(param.type, (click.types.IntParamType, click.types.FloatParamType))
    ]


def test_every_whole_number_that_an_option_takes_is_bounded() -> None:
    params = [param for _, command in commands() for param in command.params] + global_options(top=True)
    kinds = (click.types.IntParamType, click.types.FloatParamType)
    found = [param for param in params if isinstance(param.type, kinds)]
    assert len({param.name for param in found}) >= 8
    assert [param.name for param in found if not isinstance(param.type, BoundedNumber)] == []


def test_no_help_shows_a_range_without_ends() -> None:
    helps = {name: command.get_help(click.Context(command, info_name=name)) for name, command in commands()}
    assert "[x>=1]" in helps["history"]
    assert [name for name, text in helps.items() if "None" in text] == []


@pytest.mark.parametrize("giant", GIANTS)
def test_a_giant_is_refused_in_words(giant: str) -> None:
    for name, command in commands():
        for param in command.params:
            if isinstance(param.type, BoundedNumber):
                with pytest.raises(click.BadParameter) as caught:
                    param.type.convert(giant, param, None)
                assert len(caught.value.message) < 500, name


OPTIONS = [
    ("history", "--limit", "Invalid value for '--limit': 999999999999999999999 is more than 1000000\n"),
    (
        "history",
        "--keep-runs",
        "Invalid value for '--keep-runs': 999999999999999999999 is more than 1000000\n",
    ),
    ("history", "--since", None),
    ("status", "--workers", "Invalid value for '--workers': 999999999999999999999 is more than 1000000\n"),
    (
        "status",
        "--timeout",
        "'999999999999999999999' is more than 1000000 seconds\n",
    ),
    ("drift", "--every", None),
    ("drift", "--max-changes", None),
    ("configure", "--canary", None),
    ("configure", "--max-fail", None),
    ("configure", "--confirm-timeout", None),
    ("break", "--seed", None),
]


@pytest.mark.parametrize(("command", "option", "says"), OPTIONS)
def test_no_command_takes_a_giant(command: str, option: str, says: str | None, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    done = run_labrun("--state-dir", "state", command, f"{option}=999999999999999999999", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "defect" not in done.stderr
    if says is not None:
        assert says in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["show", "last-999999999999999999999"],
        ["show", "-999999999999999999999"],
        ["show", "9" * 5000],
        ["diff", "last-999999999999999999999", "last"],
        ["history", "--since", "999999999d999999999h"],
        ["history", "--since", "9999-12-31T23:59:59-23:59"],
        ["history", "--since", "0001-01-01T00:00:00+23:59"],
        ["drift", "--every", "999999999d"],
        ["status", "--timeout", "1e300"],
    ],
)
def test_giants_elsewhere(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    recorded(tmp_path / "state", "demo")
    done = run_labrun("--state-dir", "state", *words, cwd=tmp_path)
    assert done.returncode in (0, 2), done.stderr
    assert "defect" not in done.stderr


@pytest.mark.parametrize("variable", ["LABRUN_VERBOSE", "COLUMNS"])
def test_giants_in_variables(variable: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    for value in ("9" * 5000, "99999999999"):
        done = run_labrun("verify", "--offline", cwd=tmp_path, env={variable: value})
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) < 10_000


# Text of others on a terminal

EVIL = "\x1b]0;title\x07\x1b[2J\x1b[8mhidden\x9b31m\r\x08\u202e"


def recorded(base: Path, lab: str) -> Path:
    invocation = Invocation("verify", state_dir=base)
    recording = Recording()
    recording.begin(invocation, lab, "0" * 64)
    recording.finish(Report(lab), 1.0)
    return history_path(invocation, lab)


def on_a_terminal(words: list[str], cwd: Path) -> str:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "labrun", *words], cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    got = b""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                got += os.read(ours, 65536)
            elif process.poll() is not None:
                break
    except OSError:  # the terminal's other end is closed
        pass
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    return got.decode("utf-8", "replace")


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["history"],
        pytest.param(["show", "last"], marks=pytest.mark.full),
        pytest.param(["graph"], marks=pytest.mark.full),
        pytest.param(["graph", "--format", "mermaid"], marks=pytest.mark.full),
        pytest.param(["graph", "--format", "dot"], marks=pytest.mark.full),
        ["graph", "--format", "svg"],
        ["report", "--html", "-"],
        pytest.param(["history", "--export", "-"], marks=pytest.mark.full),
        ["--json", "history"],
    ],
    ids=" ".join,
)
def test_a_history_of_somebody_else_s_says_nothing_to_the_terminal(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    path = recorded(tmp_path / "state", "demo")
    with sqlite3.connect(path) as connection:
        for column in ("run", "command", "arguments", "labrun", "uri", "error"):
            connection.execute(f"UPDATE runs SET {column} = 'verify' || ?", (EVIL,))
        connection.execute("UPDATE runs SET versions = ?", ('{"python": "\\u001b[2J"}',))
    connection.close()
    shown = on_a_terminal(["--history", str(path), "--state-dir", "state", *words], tmp_path)
    # What labrun's own display of progress does: move up, clear a line, hide and show the cursor.
    rest = re.sub(r"\x1b\[(?:[0-9;]*m|\?25[lh]|2K|1A|\d*G)", "", shown).replace("\r", "")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", rest), repr(rest)
    assert "\x1b[8m" not in shown
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;32mok\x1b[0m", "\x1b[1;32mok\x1b[0m"),
        ("\x1b[38;5;244mok\x1b[m\n\tx", "\x1b[38;5;244mok\x1b[m\n\tx"),
        ("\x1b[8mhidden", "\\x1b[8mhidden"),
        ("\x1b[1;8mhidden", "\\x1b[1;8mhidden"),
        ("\x1b[2Jx\x07\r\x9b", "\\x1b[2Jx\\x07\\x0d\\x9b"),
        ("\x1b]8;;http://x\x1b\\", "\\x1b]8;;http://x\\x1b\\"),
    ],
)
def test_only_colours_are_left(text: str, shown: str) -> None:
    assert harmless(text) == shown
