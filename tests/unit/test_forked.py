"""A run of labrun that was forked is like one that was started: what it says, how it ends, what it finds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forked import run_forked
from tests.shares import of_ci

LAB = "name: demo\nnetworks: {n: {cidr: 10.9.0.0/24}}\nhosts: {a: {networks: {n: 10.9.0.11}}}\n"


WORDS = [
    ("--version",),
    ("--help",),
    ("validate",),
    ("--json", "validate"),
    ("validate", "--lab", "-"),
    ("history",),
    ("verify", "--offline"),
    ("no-such-command",),
    ("--lab", "missing.yaml", "validate"),
]


@pytest.mark.parametrize("words", of_ci(WORDS, [WORDS[0], *WORDS[3:6]]), ids=" ".join)
def test_it_says_what_a_start_says(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "100"}
    started = subprocess.run(
        [sys.executable, "-m", "labrun", *words],
        cwd=tmp_path,
        env=env,
        input="name: é\n",
        capture_output=True,
        text=True,
        check=False,
    )
    forked = run_forked(words, cwd=tmp_path, env=env, stdin="name: é\n", timeout=60)
    assert (forked.returncode, forked.stderr) == (started.returncode, started.stderr)
    assert alike(forked.stdout) == alike(started.stdout)


def alike(text: str) -> str:
    """Return a text without what differs between any two runs."""
    return re.sub(r'("run": |"seconds": ).*', r"\1X", text)


def test_it_writes_with_the_caller_s_umask(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    before = os.umask(0o027)
    try:
        words = ("graph", "--format", "dot", "--output", "out")
        done = run_forked(words, cwd=tmp_path, env=os.environ, stdin="", timeout=60)
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


def test_one_that_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    # At a port where nobody listens; the next look is an hour later.
    lab = f"name: endless-{os.getpid()}\nhosts: {{a: {{address: 127.0.0.1, ssh: {{port: 1}}}}}}\n"
    (tmp_path / "lab.yaml").write_text(lab, encoding="utf-8")
    words = ("--state-dir", "state", "drift", "--every", "1h")
    with pytest.raises(subprocess.TimeoutExpired):
        run_forked(words, cwd=tmp_path, env=os.environ, stdin="", timeout=0.5)
    # And the next one runs.
    assert run_forked(("--version",), cwd=tmp_path, env=os.environ, stdin="", timeout=60).returncode == 0
