"""--on-change: a shell line with the document on its standard input, and no more time than it is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labrun.errors import LabrunError
from labrun.runner.watching.on_change import run_on_change

DOCUMENT = b'{"lab": "demo"}\n' * 10_000  # more than a pipe holds


def test_the_command_reads_the_document(tmp_path: Path) -> None:
    run_on_change(f"cat >{tmp_path}/seen", DOCUMENT)
    assert (tmp_path / "seen").read_bytes() == DOCUMENT


def test_it_need_not_read_it(capfd: pytest.CaptureFixture[str]) -> None:
    run_on_change("echo done", DOCUMENT)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "done\n"), "stdout is for labrun's own results"


def test_its_failure_is_told() -> None:
    with pytest.raises(LabrunError) as caught:
        run_on_change("exit 7", DOCUMENT)
    assert caught.value.reason == "--on-change: the command ended with exit code 7"
    with pytest.raises(LabrunError) as caught:
        run_on_change("kill -KILL $$", DOCUMENT)
    assert caught.value.reason == "--on-change: the command ended with signal 9"


def test_with_its_time_over_it_is_ended_and_what_it_started_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(LabrunError) as caught:
        run_on_change(f"sleep 600 & echo $$ $! >{pids}; wait", DOCUMENT, seconds=1.0)
    assert caught.value.reason == "--on-change: the command did not finish within 1 s"
    _wait_until_gone(pids)


def test_an_interrupted_labrun_leaves_nothing_running(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import sys; from labrun.runner.watching.on_change import run_on_change\n"
        "try: run_on_change(sys.argv[1], b'')\n"
        "except KeyboardInterrupt: sys.exit(130)"
    )
    line = f"sleep 600 & echo $$ $! >{pids}.new; mv {pids}.new {pids}; wait"
    with subprocess.Popen([sys.executable, "-c", code, line]) as process:
        deadline = time.monotonic() + 60
        while not pids.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    _wait_until_gone(pids)


def _wait_until_gone(pids: Path) -> None:
    deadline = time.monotonic() + 60
    while any(_lives(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody has collected yet has ended too.
    return " Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]


def test_it_is_asked_to_end_before_it_is_killed(tmp_path: Path) -> None:
    trapped = tmp_path / "trapped"
    with pytest.raises(LabrunError):
        run_on_change(f"trap 'echo yes >{trapped}; exit' TERM; cat >/dev/null; sleep 600 & wait", b"", 1.0)
    assert trapped.read_text() == "yes\n"
