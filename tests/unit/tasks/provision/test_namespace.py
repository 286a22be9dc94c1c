"""A shell inside a container is read within limits, and nothing of it stays; a plain shell stands for it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from labrun.errors import ConnectionLostError, UnreadableError
from labrun.tasks.provision.namespace import run_shell

SHELL = ["/bin/sh", "-s"]


def test_status_and_both_streams() -> None:
    done = run_shell(SHELL, "echo out; echo err >&2; exit 3", 60, "h1")
    assert (done.exit_status, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_command_does_not_read_the_rest_of_the_script() -> None:
    assert run_shell(SHELL, "cat\necho after", 60, "h1").stdout == "after\n"


def test_what_a_signal_ends_has_the_status_of_a_shell() -> None:
    assert run_shell(SHELL, "kill -TERM $$", 60, "h1").exit_status == 143


@pytest.mark.parametrize("script", ["sleep 300", "exec >&- 2>&-; sleep 300", "sleep 300 | cat"])
def test_a_script_without_an_end_is_killed_with_its_children(script: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionLostError, match="the script did not finish in time"):
        run_shell(SHELL, f"echo $$ >{tmp_path}/pid; {script}", 0.5, "h1")
    assert time.monotonic() - began < 60
    pid = (tmp_path / "pid").read_text().strip()
    assert not Path(f"/proc/{pid}/fd/0").exists()


@pytest.mark.parametrize("script", ["yes", "yes >&2"])
def test_endless_output_is_cut_off(script: str) -> None:
    with pytest.raises(UnreadableError, match="wrote more than 8388608 bytes and was cut off"):
        run_shell(SHELL, script, 60, "h1")


def test_what_runs_on_in_the_background_is_not_waited_for() -> None:
    began = time.monotonic()
    assert run_shell(SHELL, "sleep 120 & echo done", 100, "h1").stdout == "done\n"
    assert time.monotonic() - began < 60
