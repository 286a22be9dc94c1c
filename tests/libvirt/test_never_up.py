"""A lab that was never up: every command that needs its machines gives one answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.command_line import run_labrun

LAB = """\
name: never-up
hypervisor: lxc:///system
networks: {net1: {mode: isolated, cidr: 10.98.77.0/24}}
hosts:
  r: {role: router, networks: {net1: 10.98.77.254}}
  d: {networks: {net1: dhcp}}
"""
SAID = "there is no such machine yet: `labrun up` makes it"


@pytest.mark.parametrize(
    "args",
    [
        ("configure", "--json"),
        ("configure", "--dry-run", "--json"),
        ("exec", "--json", "true"),
        ("mend", "--json"),
        ("verify", "--json"),
    ],
    ids=" ".join,
)
def test_a_row_of_each_host_says_so(tmp_path: Path, args: tuple[str, ...]) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    done = run_labrun("--state-dir", "state", *args, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    rows = json.loads(done.stdout)["results"]
    assert {row["host"] for row in rows if row["why"] == SAID and row["status"] == "unreachable"} == {
        "r",
        "d",
    }


@pytest.mark.parametrize("args", [("ssh", "d", "true"), ("console", "d"), ("ssh", "r")], ids=" ".join)
def test_one_host_is_said_so(tmp_path: Path, args: tuple[str, ...]) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    done = run_labrun("--state-dir", "state", *args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines()[0] == f"error: {args[1]}: machine: {SAID}"


def test_there_is_nothing_to_remove(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    done = run_labrun("--state-dir", "state", "down", "-y", cwd=tmp_path)
    assert done.returncode == 0
    assert "lab never-up" in done.stdout
    assert "nothing to remove" in done.stdout
