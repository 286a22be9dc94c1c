"""The lab's lock between real processes: who holds it is named, and it dies with its holder."""

from __future__ import annotations

import getpass
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labrun.errors import LabrunError, LockedError
from labrun.runner.engine.lock import Holder, lab_lock

HOLD = """
import signal, sys
from pathlib import Path
from labrun.runner.engine.lock import lab_lock
with lab_lock(Path(sys.argv[1]), "up"):
    print("held", flush=True)
    signal.pause()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_learns_who_is_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as process:
        with pytest.raises(LockedError) as caught, lab_lock(path, "down"):
            pytest.fail("two hold the lock")
        who = rf"pid {process.pid}, up, since \d\d:\d\d:\d\d, user {getpass.getuser()}"
        assert re.fullmatch(rf"another labrun \({who}\) is working on this lab", caught.value.reason)
        assert caught.value.exit_code == 1


def test_kill_9_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert path.read_text() != "", "what the dead one wrote is still there"
        with lab_lock(path, "down"):
            assert f'"pid": {os.getpid()}' in path.read_text()


def test_the_lock_can_be_taken_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(3):
        with lab_lock(path, "up"):
            pass
        assert path.read_text() == ""


def test_one_process_does_not_take_it_twice(tmp_path: Path) -> None:
    with lab_lock(tmp_path / "lock", "up"), pytest.raises(LockedError), lab_lock(tmp_path / "lock", "down"):
        pytest.fail("two hold the lock")


def test_an_exception_frees_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lab_lock(tmp_path / "lock", "up"):
        raise KeyError
    with lab_lock(tmp_path / "lock", "up"):
        pass


def test_the_lock_of_a_removed_directory_hinders_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lab_lock(path, "down"):
        path.unlink()
        with lab_lock(path, "up"):
            assert '"command": "up"' in path.read_text()


def test_a_child_that_outlives_labrun_does_not_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lab_lock(path, "up"):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with lab_lock(path, "down"):
            assert child.poll() is None
    finally:
        child.communicate(b"\n", timeout=30)


def test_a_holder_that_has_not_signed_yet_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lab_lock(path, "up"):
        path.write_text("")
        with pytest.raises(LockedError) as caught, lab_lock(path, "down"):
            pytest.fail("two hold the lock")
    assert caught.value.reason == "another labrun (details not written yet) is working on this lab"


def test_a_directory_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "lock"
    with pytest.raises(LabrunError) as caught, lab_lock(path, "up"):
        pytest.fail("locked nothing")
    assert caught.value.reason == f"cannot lock {path}: No such file or directory"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with lab_lock(tmp_path / "lock", "up"):
        assert (tmp_path / "lock").lstat().st_mode & 0o170000 == 0o100000
    assert not (tmp_path / "target").exists()


def test_an_older_holder_is_named_with_its_day() -> None:
    then = time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1))
    assert str(Holder(7, "up", "x", then)) == "pid 7, up, since 2026-01-02 03:04:05, user x"
