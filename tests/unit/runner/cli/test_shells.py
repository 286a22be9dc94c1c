"""Completion in real shells: what bash, fish and zsh offer for a command line that is being typed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labrun.runner.history.reading import open_history
from labrun.tasks.provision.image_import import import_image
from tests import places
from tests.shares import of_ci
from tests.unit.past_runs import remember
from tests.unit.tasks.provision.image_files import needs_qemu_img, qcow2
from tests.zsh_terminal import Tab, zsh

pytestmark = needs_qemu_img

LAB = """\
name: demo
networks:
  net1: {mode: isolated, cidr: 10.1.0.0/24}
  net2: {mode: isolated, cidr: 10.2.0.0/24}
hosts:
  gate: {role: router, networks: {net1: 10.1.0.254, net2: 10.2.0.254}}
  web: {networks: {net1: 10.1.0.11}}
  db: {networks: {net2: 10.2.0.11}}
"""
FISH = 'labrun completion fish | source; complete -C "$argv[1]"'
# What readline does: it gives the line and the cursor, and puts each answer where the last word begins.
BASH = """
eval "$(labrun completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
compopt() { :; }
_labrun_completion labrun
printf '%s\\n' "${COMPREPLY[@]}"
"""
ARGS = {"fish": ["--no-config", "-c", FISH, "--"], "bash": ["--norc", "-c", BASH, "bash"]}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lab.yaml").write_text(LAB)
    (tmp_path / "labrun").write_text(
        f'#!/bin/sh\nPYTHONPATH="{places.ROOT}" exec "{sys.executable}" -m labrun "$@"\n'
    )
    (tmp_path / "labrun").chmod(0o755)
    state = tmp_path / "state" / "labrun"
    (state / "old-lab-01234567").mkdir(parents=True)
    (state / "history").mkdir()
    (state / "history" / "older.sqlite").touch()
    remember(state / "history" / "demo.sqlite", lab="demo", command="verify")
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(tmp_path / "images"))
    import_image(qcow2(tmp_path / "disk.qcow2"), "mine")
    return tmp_path


def require(shell: str) -> None:
    """Skip without the shell; scripts/install, which CI runs, has all of them."""
    if shutil.which(shell) is None:
        assert "CI" not in os.environ, f"{shell} is not installed"
        pytest.skip(f"{shell} is not installed")


def env_of(lab: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if "LABRUN" not in name}
    return {
        **clean,
        "PATH": f"{lab}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(lab / "state"),
        "LABRUN_IMAGE_DIR": str(lab / "images"),
        "HOME": str(lab),
    }


def letters(lab: Path) -> str:
    """Return the last four characters of the ID of the only run."""
    path = lab / "state" / "labrun" / "history" / "demo.sqlite"
    history = open_history(path, "demo")
    assert history is not None
    (run,) = history.runs()
    return run.run[-4:]


def offered(shell: str, lab: Path, line: str) -> list[str]:
    """Return the lines that a shell offers, with a description after a tab in fish."""
    require(shell)
    args = [shell, *ARGS[shell], line]
    done = subprocess.run(
        args, cwd=lab, env=env_of(lab), text=True, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


BOTH = [
    ("labrun verify --hosts web,", ["web,gate", "web,db", "web,@router", "web,@host"]),
    ("labrun verify --hosts web,d", ["web,db"]),
    ("labrun configure --only sysctl,ss", ["sysctl,sshd"]),
    ("labrun break gateway-w", ["gateway-wrong", "gateway-wrong-v6"]),
    ("labrun image build debian-1", ["debian-12", "debian-13"]),
    ("labrun down --name ol", ["old-lab", "older"]),
    ("labrun image pull almalinux-", ["almalinux-9", "almalinux-10"]),
    ("labrun image remove m", ["mine"]),
    ("labrun show ver", ["verify"]),
]


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize("case", of_ci(BOTH, BOTH[:1]))
def test_a_shell_offers(shell: str, lab: Path, case: tuple[str, list[str]]) -> None:
    line, some = case
    values = [each.split("\t")[0] for each in offered(shell, lab, line)]
    assert values[: len(some)] == some or set(some) <= set(values)
    begun = line.split(" ")[-1]
    assert all(value.startswith(begun) for value in values)


def test_fish_shows_descriptions_with_commas_in_full(lab: Path) -> None:
    assert offered("fish", lab, "labrun grap") == [
        "graph\tDraw networks, hosts, addresses and roles, coloured by the last verify."
    ]
    assert offered("fish", lab, "labrun break gateway-wrong-") == ["gateway-wrong-v6\teasy"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("labrun verify --hosts=web,d", ["--hosts=web,db"]),
        ("labrun verify --pair web:", ["web:gate", "web:db"]),
        ("labrun capture gate:net", ["gate:net1", "gate:net2"]),
    ],
)
def test_fish_completes_within_a_word(lab: Path, line: str, words: list[str]) -> None:
    assert sorted(offered("fish", lab, line)) == sorted(words)


INSIDE_WORDS = [
    ("labrun verify --pair web:", ["gate", "db"]),
    ("labrun verify --hosts=web,d", ["web,db"]),
    ("labrun verify --pair we", ["web:"]),
    ("labrun verify --pair web:d", ["db"]),
    ("labrun capture gate:net", ["net1", "net2"]),
    ("labrun image build debian-12:net", ["networkd", "netplan"]),
]


@pytest.mark.parametrize("case", of_ci(INSIDE_WORDS, INSIDE_WORDS[:1]))
def test_bash_puts_its_answer_after_the_last_colon(lab: Path, case: tuple[str, list[str]]) -> None:
    line, words = case
    assert sorted(offered("bash", lab, line)) == sorted(words)


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_runs_are_offered_by_the_end_of_their_ids(shell: str, lab: Path) -> None:
    values = [each.split("\t")[0] for each in offered(shell, lab, f"labrun show {letters(lab)}")]
    assert values == [letters(lab)]


def test_tab_in_zsh(lab: Path) -> None:
    """All kinds in one zsh: the words that are offered, and what Tab makes of the line."""
    require("zsh")
    run = letters(lab)
    cases = {
        "verify --hosts web,d": (("web,db",), "verify --hosts web,db "),
        "verify --hosts=web,d": (("web,db",), "verify --hosts=web,db "),
        "verify --pair we": (("web:",), "verify --pair web:"),
        "verify --pair web:": (("web:gate", "web:db"), "verify --pair web:"),
        "capture gate:net": (("gate:net1", "gate:net2"), "capture gate:net"),
        "configure --only sysctl,ssh": (("sysctl,ssh_keys", "sysctl,sshd"), "configure --only sysctl,ssh"),
        "break gateway-wrong-": (("gateway-wrong-v6",), "break gateway-wrong-v6 "),
        "image build debian-12:netw": (("debian-12:networkd",), "image build debian-12:networkd "),
        "image remove m": (("mine",), "image remove mine "),
        "down --name ol": (("old-lab", "older"), "down --name old"),
        f"show {run}": ((run,), f"show {run} "),
        "grap": (("graph",), "graph "),
        "-f nowhere": ((), "-f nowhere"),
    }
    with zsh(lab, env_of(lab)) as shell:
        found = {line: shell.tab(f"labrun {line}") for line in cases}
    assert {line: (tab.offered, tab.line.removeprefix("labrun ")) for line, tab in found.items()} == cases


def test_zsh_takes_the_code_as_a_file_of_fpath_too(lab: Path) -> None:
    """As the Debian package installs it: the first Tab loads the function."""
    require("zsh")
    code = subprocess.run(
        [lab / "labrun", "completion", "zsh"], env=env_of(lab), text=True, capture_output=True, check=True
    ).stdout
    (lab / "functions").mkdir()
    (lab / "functions" / "_labrun").write_text(code)
    (lab / ".zshenv").write_text(f"fpath=({lab}/functions $fpath)\n")
    with zsh(lab, env_of(lab), startup=True) as shell:
        assert shell.tab("labrun verify --hosts web,d") == Tab(("web,db",), "labrun verify --hosts web,db ")


@pytest.mark.full
def test_nothing_is_offered_where_there_is_no_lab(lab: Path) -> None:
    (lab / "lab.yaml").unlink()
    for line in ("labrun verify --pair w", "labrun -f x", "labrun snapshot restore x", "labrun drop x"):
        assert offered("bash", lab, line) == [""]
