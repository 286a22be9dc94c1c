"""Which lab file a command acts on: --lab, a folder, LABRUN_LAB, or the nearest lab.yaml."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import places
from tests.unit.command_line import run_labrun

LAB = "name: {}\nhosts: {{web: {{address: 192.0.2.7}}}}\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lab.yaml").write_text(LAB.format(name))
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_variable_that_wins_over_the_lab_of_this_folder_is_said(here: Path) -> None:
    first = here / "first" / "lab.yaml"
    for command in ("validate", "graph", "history"):
        done = run_labrun(command, cwd=here / "second", env={"LABRUN_LAB": str(first)})
        assert (done.returncode, done.stderr) == (0, f"using LABRUN_LAB={first}, not lab.yaml\n")


@pytest.mark.parametrize("place", ["first", "empty"])
def test_a_variable_that_wins_over_nothing_else_is_not(here: Path, place: str) -> None:
    done = run_labrun("validate", cwd=here / place, env={"LABRUN_LAB": str(here / "first" / "lab.yaml")})
    assert "lab first is valid" in done.stdout
    assert done.stderr == ""


SHELL = """
labrun() { echo "${LABRUN_LAB:-none}"; }   # stands in for the program
command() { "${@}"; }
eval "$(sed -n '/^_shell_lab=/,/^unset/p' "$1")"
eval "$(sed -n '/^labrun() {/,/^}/p' "$1" | sed 's/^labrun()/wrapped()/')"
for folder in first empty; do cd "$2/$folder" && wrapped; done
LABRUN_LAB=other wrapped
printf '%s\\n' "${SHELL_LAB:-unset}"
"""


def test_the_shell_of_make_shell_takes_the_lab_of_the_folder_first(here: Path) -> None:
    script = places.ROOT / "scripts" / "shellrc"
    done = subprocess.run(
        ["bash", "--norc", "-c", SHELL, "bash", script, here],
        env={"PATH": os.environ["PATH"], "SHELL_LAB": "/x/own.yaml"},
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["none", "/x/own.yaml", "other", "unset"]


def test_an_option_beats_the_variable_and_needs_no_word(here: Path) -> None:
    for args in (("--lab", "../first", "validate"), ("validate", "--lab", "../first/lab.yaml")):
        done = run_labrun(*args, cwd=here / "second", env={"LABRUN_LAB": str(here / "second" / "lab.yaml")})
        assert "lab first is valid" in done.stdout
        assert done.stderr == ""


def test_a_folder_means_its_lab_file(here: Path) -> None:
    done = run_labrun("validate", "--lab", "first", cwd=here)
    assert done.stdout.startswith("first/lab.yaml: lab first is valid")


@pytest.mark.parametrize(("given", "named"), [("empty", "empty/lab.yaml"), ("nope.yaml", "nope.yaml")])
def test_a_missing_file_has_no_line(here: Path, given: str, named: str) -> None:
    done = run_labrun("validate", "--lab", given, cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{named}: there is no such file\nerror: {named} has 1 problem\n"


@pytest.mark.parametrize("command", ["ssh", "console", "log"])
@pytest.mark.parametrize("host", ["wbe", "web,web", "@host"])
def test_an_unknown_host_is_named_as_one(here: Path, command: str, host: str) -> None:
    done = run_labrun(command, host, cwd=here / "first")
    guess = ' (did you mean "web"?)' if host != "@host" else ""
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'error: unknown host "{host}"{guess}\nhint: the lab has web\n'
