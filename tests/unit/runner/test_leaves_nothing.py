"""Commands that only look leave nothing behind of a lab that is new, and say its path as it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.command_line import run_labrun

LAB = """\
name: fresh
networks:
  net1: {mode: isolated, cidr: 10.1.0.0/24}
hosts:
  a: {networks: {net1: 10.1.0.11}}
"""
NOWHERE = "qemu+unix:///system?socket=/nowhere"
GONE = {"LABRUN_HYPERVISOR": NOWHERE}
LOOKING = [
    "validate",
    "verify --offline",
    "graph --format ascii",
    "schema",
    "plan",
    "plan --explain",
    "status",
    "inventory --format json",
    "history",
    "net",
    "list",
    "break --list",
    "report -o -",
    "completion zsh",
]


@pytest.mark.parametrize("uri", [NOWHERE, "test:///default"], ids=["no-hypervisor", "hypervisor"])
@pytest.mark.parametrize("words", LOOKING)
def test_nothing_is_left_behind(tmp_path: Path, uri: str, words: str) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    env = {
        "LABRUN_HYPERVISOR": uri,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    done = run_labrun(*words.split(), cwd=tmp_path, env=env)
    assert done.returncode in (0, 3, 5), done.stderr
    left = sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if "cache" not in path.parts
    )
    assert left == ["lab.yaml"]


def test_of_a_lab_that_is_known_a_plan_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    for words in ("verify", "plan"):
        assert run_labrun("--state-dir", "state", words, cwd=tmp_path, env=GONE).returncode == 5
    listed = run_labrun("--state-dir", "state", "history", cwd=tmp_path).stdout.splitlines()
    assert [line.split("ago")[1].split()[0] for line in listed[1:]] == ["plan", "verify"]
    asked = run_labrun("--history", "mine.sqlite", "plan", cwd=tmp_path, env=GONE)
    assert (asked.returncode, (tmp_path / "mine.sqlite").exists()) == (5, True)


@pytest.mark.parametrize(
    ("folder", "words", "path"),
    [
        (".", [], "lab.yaml"),
        ("sub/deeper", [], "../../lab.yaml"),
        (".", ["--lab", "./lab.yaml"], "./lab.yaml"),
        ("sub", ["--lab", ".."], "../lab.yaml"),
        ("sub", ["--lab", "ABSOLUTE"], "ABSOLUTE"),
    ],
)
def test_a_path_is_said_as_it_was_given(tmp_path: Path, folder: str, words: list[str], path: str) -> None:
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    absolute = str(tmp_path / "lab.yaml")
    (tmp_path / "lab.yaml").write_text(LAB)
    words, path = [word.replace("ABSOLUTE", absolute) for word in words], path.replace("ABSOLUTE", absolute)
    done = run_labrun("validate", *words, cwd=tmp_path / folder)
    assert done.stdout == f"{path}: lab fresh is valid: 1 network, 1 host (no routers)\n"
    (tmp_path / "lab.yaml").write_text("name: fresh\nhosts: 3\n")
    done = run_labrun("validate", *words, cwd=tmp_path / folder)
    assert (done.returncode, done.stderr.split(":")[0]) == (2, path)
