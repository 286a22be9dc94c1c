"""Live progress: on stderr only, a board on a terminal, one line a stage elsewhere."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from labrun.progress import LOGGER_NAME, report
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import _Board, progress

WORK = """
import sys
from labrun.progress import report
from labrun.runner.cli.progress import progress
from labrun.runner.cli.invocation import Invocation
settings = {"format": "table", "verbosity": 0} | dict(pair.split("=") for pair in sys.argv[1:])
invocation = Invocation("up", format=settings["format"], verbosity=int(settings["verbosity"]))
with progress(["host00", "host01"], invocation):
    report("host00", "started")
    report("host00", "started", "again")
    report("host01", "address", "172.16.0.11\\x1b[31m")
    report("host00", "ready")
print("result")
"""


def work(*settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WORK, *settings], capture_output=True, text=True, timeout=60, check=True
    )


def test_without_a_terminal_there_is_one_line_a_host_that_is_finished() -> None:
    done = work()
    assert done.stdout == "result\n"
    assert [line.split(" s  ", 1)[1] for line in done.stderr.splitlines()] == ["host00: ready"]


def test_with_v_there_is_one_line_a_stage() -> None:
    done = work("verbosity=1")
    assert done.stdout == "result\n"
    lines = [line.split(" s  ", 1) for line in done.stderr.splitlines()]
    assert [text for _, text in lines] == [
        "host00: started",
        "host01: address (172.16.0.11\\x1b[31m)",
        "host00: ready",
    ]
    assert all(float(seconds) < 60 for seconds, _ in lines)


@pytest.mark.parametrize("setting", ["verbosity=-1", "format=json"])
def test_quiet_and_json_say_nothing_to_a_file(setting: str) -> None:
    done = work(setting)
    assert (done.stdout, done.stderr) == ("result\n", "")


def on_terminal(*settings: str) -> tuple[str, str]:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        [sys.executable, "-c", WORK, *settings], stdout=subprocess.PIPE, stderr=theirs, env=env, text=True
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            seen += chunk
        os.close(ours)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out, seen.decode()


@pytest.mark.parametrize("setting", ["format=table", "format=json"])
def test_a_terminal_gets_a_board_that_goes_away(setting: str) -> None:
    out, seen = on_terminal(setting)
    assert out == "result\n"
    assert "1 of 2 finished" in seen
    assert "host01" in seen
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") > 0, "the cursor is hidden and comes back"
    assert "\x1b[31m" not in seen.replace("\\x1b[31m", ""), "a guest's escape sequence is spelled out"


def test_a_quiet_terminal_stays_empty() -> None:
    assert on_terminal("verbosity=-1") == ("result\n", "")


def drawn(board: _Board, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=60, height=height, force_terminal=True, color_system=None)
    console.print(board)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_board_shows_as_many_hosts_as_there_are_lines() -> None:
    board = _Board([f"host{number:02}" for number in range(50)])
    lines = drawn(board, 24)
    assert len(lines) <= 24
    assert lines[-1].startswith("0 of 50 finished, 29 not shown, ")


def test_finished_hosts_leave_the_board() -> None:
    board = _Board(["a", "b"])
    logger = logging.getLogger(LOGGER_NAME)
    logger.addHandler(board)
    logger.setLevel(logging.INFO)
    try:
        report("a", "ready")
        report("b", "ssh", "172.16.0.11")
        report("hypervisor", "network")
    finally:
        logger.removeHandler(board)
    lines = drawn(board, 24)
    assert [line.split()[:2] for line in lines[:-1]] == [["b", "waiting"], ["hypervisor", "network"]]
    assert lines[0].split()[:4] == ["b", "waiting", "for", "SSH"]
    assert lines[-1].startswith("1 of 2 finished, "), "the hypervisor is no host"


def test_threads_may_report_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    def tell(number: int) -> None:
        for stage in range(20):
            report(f"host{number}", f"stage{stage}")

    with progress([], Invocation("up")):
        threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 160
    assert {line.split(" s  ")[1] for line in lines} == {
        f"host{number}: stage{stage}" for number in range(8) for stage in range(20)
    }
    assert json.dumps(logging.getLogger(LOGGER_NAME).handlers, default=str) == "[]", "the handler is gone"
