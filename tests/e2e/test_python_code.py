"""Python code of users on a real lab: the example suite, the plugin's options, and `labrun run`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.labs import EXAMPLES, RunningLab
from tests.leftovers import note

URI = "lxc:///system"
TASKS = """\
from nornir.core.task import Result, Task
from nornir_netmiko.tasks import netmiko_send_command

from labrun.tasks.guest.transport import transport_of


def connections(task: Task) -> Result:
    command = "echo $SSH_CONNECTION"
    theirs = task.run(task=netmiko_send_command, command_string=command)[0].result.split()
    own = transport_of(task.host).run(command, timeout=30).stdout.split()
    return Result(host=task.host, result="one login" if theirs == own else f"{theirs} {own}")


def touch(task: Task, path: str) -> Result:
    if not task.is_dry_run():
        task.run(task=netmiko_send_command, command_string=f"touch {path}")
    return Result(host=task.host, changed=True)


def breaks(task: Task) -> Result:
    raise RuntimeError(f"no luck with {task.host.name}")


def waits(task: Task) -> Result:
    task.run(task=netmiko_send_command, command_string="sleep 60", read_timeout=90)
"""


@dataclass
class Suite:
    """A copy of the example suite, and the lab that it works on."""

    folder: Path
    lab: RunningLab

    def pytest(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pytest in the folder, as a user does."""
        note("pytest-example")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
        state = [f"--lab-state-dir={self.lab.state}"]
        environment = {**os.environ, "LABRUN_HYPERVISOR": URI}
        return subprocess.run(
            [*command, *state],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture(scope="module")
def suite(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("python") / "suite"
    shutil.copytree(EXAMPLES / "pytest", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")
    lab = RunningLab(folder / "lab.yaml", folder.parent / "state", {"LABRUN_HYPERVISOR": URI})
    made = Suite(folder, lab)
    try:
        done = made.pytest("--lab-down=never")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "5 passed" in done.stdout
        yield made
    finally:
        lab.run("-y", "down")


def test_the_example_suite_passes_and_its_lab_is_left_as_asked(suite: Suite) -> None:
    assert suite.lab.json("verify").exit_code == 0
    # The plugin's calls are not in the history, what came after is.
    commands = [run["command"] for run in suite.lab.json("history").document["runs"]]
    assert set(commands) <= {"verify", "run"}


def test_a_task_of_netmiko_runs_over_labrun_s_only_login(suite: Suite) -> None:
    place = str(suite.folder / "tasks.py")
    done = suite.lab.json("run", f"{place}:connections")
    assert [(row["host"], row["actual"]) for row in done.rows] == [
        (host, "one login") for host in ("gate", "one", "two")
    ], done.stderr
    assert done.of("task", name="connections") == done.rows


def test_a_dry_run_changes_nothing_and_a_run_does(suite: Suite) -> None:
    place = str(suite.folder / "tasks.py")
    words = ("--hosts", "one", "run", f"{place}:touch", "--set", "path=/tmp/touched")
    planned = suite.lab.json(*words, "--dry-run")
    assert (planned.exit_code, planned.statuses()) == (3, {"would-change"})
    assert suite.lab.run("ssh", "one", "test -e /tmp/touched").exit_code == 1
    done = suite.lab.json(*words)
    assert (done.exit_code, done.statuses()) == (0, {"changed"})
    assert suite.lab.run("ssh", "one", "test -e /tmp/touched").exit_code == 0


def test_a_canary_that_fails_stops_the_rest(suite: Suite) -> None:
    done = suite.lab.json("run", f"{suite.folder / 'tasks.py'}:breaks", "--canary", "1")
    assert done.exit_code == 1
    assert [(row["status"], row["why"]) for row in done.rows] == [
        ("failed", "RuntimeError: no luck with gate"),
        *[("skipped", "not started: 1 host failed, and --max-fail is 0")] * 2,
    ]


@pytest.mark.full
def test_a_task_that_takes_too_long_is_cut_off(suite: Suite) -> None:
    done = suite.lab.json("--hosts", "one", "--timeout", "4", "run", f"{suite.folder / 'tasks.py'}:waits")
    assert (done.exit_code, done.statuses()) == (4, {"unknown"})
    assert done.rows[0]["why"] == "not finished after 4 s (--timeout allows more)"


@pytest.mark.full
def test_a_lab_that_was_up_is_reused_and_left_and_one_that_was_not_is_taken_down(suite: Suite) -> None:
    one = ("-k", "as_the_file_says")
    reused = suite.pytest(*one)
    assert reused.returncode == 0, reused.stdout
    assert suite.lab.json("verify").exit_code == 0
    removed = suite.pytest(*one, "--lab-down=always")
    assert removed.returncode == 0, removed.stdout
    assert "machine" in {
        row["section"] for row in suite.lab.json("plan").rows if row["status"] == "would-change"
    }
    fresh = suite.pytest(*one)
    assert fresh.returncode == 0, fresh.stdout
    assert suite.lab.json("plan").exit_code == 3
    suite.lab.json("up")


@pytest.mark.full
def test_a_lab_that_does_not_come_up_fails_with_its_rows(suite: Suite, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    text = (suite.folder / "lab.yaml").read_text(encoding="utf-8").replace("pytest-example", "pytest-rival")
    other.write_text(text, encoding="utf-8")
    done = suite.pytest("-k", "as_the_file_says", f"--lab={other}")
    assert done.returncode == 1
    assert "the lab pytest-rival does not come up" in done.stdout
    assert "hypervisor: network left: failed" in done.stdout, done.stdout
