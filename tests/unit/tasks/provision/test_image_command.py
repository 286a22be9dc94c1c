"""The commands of an image build: their last words, their end on request, and nothing left of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from labrun.tasks.provision.image_command import BuildCancelledError, BuildError, lifeline, run_command

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of one's own need root")


def _is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def _wait_for(path: Path) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text.strip()
        time.sleep(0.02)
    raise AssertionError(f"{path} was never written")


def _assert_goes(pid: int) -> None:
    deadline = time.monotonic() + 10
    while not _is_gone(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.02)


def test_each_line_is_handed_on_and_feed_is_its_input() -> None:
    seen: list[str] = []
    run_command(["sh", "-c", "cat; echo two >&2"], step="copy", feed="one\n", on_line=seen.append)
    assert seen == ["one", "two"]


def test_a_failure_carries_status_and_last_lines() -> None:
    with pytest.raises(BuildError) as caught:
        run_command(["sh", "-c", "seq 20; echo no space left >&2; exit 7"], step="packages")
    lines = "\n".join([*(str(number) for number in range(7, 21)), "no space left"])
    assert str(caught.value) == f"packages: sh ended with status 7:\n{lines}"


def test_a_silent_failure_says_so() -> None:
    with pytest.raises(BuildError, match=r"^ESP: false ended with status 1:\nit printed nothing$"):
        run_command(["false"], step="ESP")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(BuildError, match=r"labrun-no-such-program.*No such file or directory"):
        run_command(["labrun-no-such-program"], step="ESP")


def test_output_that_is_not_utf8_is_shown_all_the_same() -> None:
    with pytest.raises(BuildError, match="caf\ufffd"):
        run_command(["sh", "-c", r"printf 'caf\351\n'; exit 1"], step="packages")


def test_cancelling_ends_the_command_and_its_children(tmp_path: Path) -> None:
    cancel = threading.Event()
    script = f"sleep 300 & echo $! >{tmp_path}/child; echo ready; wait"
    began = time.monotonic()
    with pytest.raises(BuildCancelledError, match=r"^packages: stopped on request$"):
        run_command(["sh", "-c", script], step="packages", on_line=lambda _: cancel.set(), cancel=cancel)
    assert time.monotonic() - began < 60
    _assert_goes(int(_wait_for(tmp_path / "child")))


def test_an_error_while_following_ends_the_command(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_command(["sh", "-c", f"echo $$ >{tmp_path}/pid; echo ready; sleep 300"], step="x", on_line=refuse)
    _assert_goes(int(_wait_for(tmp_path / "pid")))


def test_nothing_is_run_for_a_labrun_that_died_before_it_could_be_watched(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    assert subprocess.run([*lifeline(1), "touch", ran], check=False).returncode == 1
    assert not ran.exists()
    assert subprocess.run([*lifeline(os.getpid()), "touch", ran], check=False).returncode == 0
    assert ran.exists()


def _kill_a_labrun_that_runs(script: str, own_namespaces: bool) -> None:
    call = f"run_command(['sh', '-c', {script!r}], step='x', own_namespaces={own_namespaces})"
    code = f"from labrun.tasks.provision.image_command import run_command; {call}"
    with subprocess.Popen([sys.executable, "-c", code]) as labrun:
        try:
            _wait_for(Path(script.rpartition(">")[2].split(";")[0]))
        finally:
            labrun.send_signal(signal.SIGKILL)


def test_a_killed_labrun_takes_the_command_along(tmp_path: Path) -> None:
    _kill_a_labrun_that_runs(f"echo $$ >{tmp_path}/pid; exec sleep 300", own_namespaces=False)
    _assert_goes(int(_wait_for(tmp_path / "pid")))


@needs_root
def test_a_killed_labrun_leaves_no_process_and_no_mount(tmp_path: Path) -> None:
    marker = tmp_path / "mounted"
    child = f"sh -c 'sleep 300; true' {tmp_path}"
    script = f"mkdir {tmp_path}/m; mount -t tmpfs none {tmp_path}/m; {child} & echo up >{marker}; wait"
    _kill_a_labrun_that_runs(script, own_namespaces=True)
    deadline = time.monotonic() + 10
    while any(str(tmp_path).encode() in line for line in _read_all("[0-9]*/cmdline")):
        assert time.monotonic() < deadline, "the command's child lives on"
        time.sleep(0.02)
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


@needs_root
def test_what_a_command_mounts_and_leaves_running_ends_with_it(tmp_path: Path) -> None:
    script = f"mount -t tmpfs none {tmp_path}; setsid sh -c 'sleep 300; true' {tmp_path} & echo started"
    run_command(["sh", "-c", script], step="x", own_namespaces=True)
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert not any(str(tmp_path).encode() in line for line in _read_all("[0-9]*/cmdline"))


def _read_all(pattern: str) -> list[bytes]:
    found: list[bytes] = []
    for path in Path("/proc").glob(pattern):
        # A process may end between being listed and being read.
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return found
