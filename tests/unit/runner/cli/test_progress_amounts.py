"""Bars with units, limits, and the last line of a console: on a terminal; without one, a line a step."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest
from rich.console import Console

from labrun.progress import LOGGER_NAME, Amount, draws, report
from labrun.runner.cli.progress import _Board
from tests.image_server import image_server
from tests.unit.tasks.provision.image_files import boot_disk, converted, needs_qemu_img

_MB = 1_000_000


@pytest.fixture
def board() -> Iterator[_Board]:
    board = _Board(["host00"])
    logger = logging.getLogger(LOGGER_NAME)
    logger.addHandler(board)
    logger.setLevel(logging.INFO)
    yield board
    logger.removeHandler(board)


def drawn(board: _Board, width: int = 80, height: int = 24, encoding: str = "utf-8") -> list[str]:
    # Rich asks the file for its encoding, and draws with ASCII where that has no lines.
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
    console.print(board)
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return [line.rstrip() for line in file.buffer.getvalue().decode(encoding).splitlines()]


def test_an_amount_has_its_unit_and_its_share() -> None:
    assert str(Amount(12.4, 48.0)) == "12 of 48 MB, 26%"
    assert str(Amount(12.4, None)) == "12 MB"
    assert str(Amount(3, 4, "packages")) == "3 of 4 packages, 75%"
    assert str(Amount(30, 100, "%")) == "30%"
    assert Amount(5, 4).share == 1.0


def test_a_wait_says_what_for_how_long_at_most_and_why(board: _Board) -> None:
    report("host00", "ssh", "10.0.0.1, emulated: minutes are normal", limit=600)
    assert drawn(board)[0] == "host00  waiting for SSH  0 of 600 s  10.0.0.1, emulated: minutes are normal"


def test_the_limit_stays_with_later_reports_of_the_stage(board: _Board) -> None:
    report("host00", "ssh", limit=600)
    report("host00", "ssh", console="[  OK  ] Reached target network.target")
    assert drawn(board)[:2] == [
        "host00  waiting for SSH  0 of 600 s",
        "        console: [  OK  ] Reached target network.target",
    ]
    report("host00", "cloud-init")
    assert drawn(board)[0] == "host00  waiting for cloud-init  0 s"


def test_consoles_give_way_to_hosts(board: _Board) -> None:
    for number in range(4):
        report(f"host{number:02}", "ssh", console=f"line of {number}")
    assert [line.strip() for line in drawn(board, height=8) if "console" in line] == ["console: line of 0"]
    assert [line for line in drawn(board, height=7) if "console" in line] == []


def test_a_console_moves_no_cursor(board: _Board) -> None:
    report("host00", "ssh", console="\x1b[2Jgone\nline")
    assert drawn(board)[1] == "        console: \\x1b[2Jgone line"


@pytest.mark.parametrize(
    ("encoding", "done", "left"), [("utf-8", "━", "╌"), ("ascii", "#", "-")], ids=["utf-8", "ascii"]
)
def test_a_bar_shows_the_share(board: _Board, encoding: str, done: str, left: str) -> None:
    report("hypervisor", "downloading", "debian-13", amount=Amount(100, 400))
    line = drawn(board, width=100, encoding=encoding)[1]
    assert line.split()[1:] == [
        *("downloading", "0", "s", done * 5 + left * 15, "100", "of", "400", "MB,", "25%", "debian-13")
    ]


def test_the_bar_gives_way_where_the_terminal_is_narrow(board: _Board) -> None:
    report("hypervisor", "installing packages", "debian-12, step 5 of 8", amount=Amount(40, 173, "packages"))
    for width in (80, 60):
        lines = drawn(board, width=width)
        assert max(map(len, lines)) <= width
        assert "40 of 173" in lines[1]
    assert "━" not in drawn(board, width=80)[1]


def test_only_a_board_draws(board: _Board) -> None:
    assert draws()
    logging.getLogger(LOGGER_NAME).removeHandler(board)
    assert not draws()


def pull(url: str, store: Path, *, terminal: bool) -> tuple[int, str]:
    """Pull an image; return the exit code and what came on stderr, a terminal of 100 columns or a pipe."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LABRUN_")}
    env |= {"LABRUN_IMAGE_DIR": str(store), "TERM": "xterm", "no_proxy": "127.0.0.1"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        env.pop(name, None)
    name, _, digest = url.partition("#")
    command = [sys.executable, "-m", "labrun", "image", "pull", name, "--sha256", digest]
    if not terminal:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stderr
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=env) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:
                break
            seen += chunk
        os.close(ours)
        return process.wait(timeout=60), seen.decode()


@needs_qemu_img
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_a_pull_shows_bytes_on_a_terminal_and_a_line_a_step_elsewhere(tmp_path: Path, terminal: bool) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(boot_disk() + os.urandom(11 * _MB))
    data = converted(raw, tmp_path / "disk.qcow2").read_bytes()
    total = round(len(data) / _MB)
    with image_server() as shelf:
        # The connection breaks once: the pause before the next try is long enough to be drawn.
        url = shelf.put("/disk.qcow2", data, ends=[6 * _MB, None])
        code, said = pull(f"{url}#{hashlib.sha256(data).hexdigest()}", tmp_path / "images", terminal=terminal)
    assert code == 0, said
    if terminal:
        assert "━" in said
        assert re.search(rf"6 of {total} MB, 5\d%", said), said
    else:
        steps = [line.split(" s  ", 1)[1] for line in said.splitlines() if " s  " in line]
        assert steps == [f"hypervisor: downloading (disk, {total} MB)", "hypervisor: checking (disk)"]
