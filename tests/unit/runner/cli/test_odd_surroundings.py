"""Read-only folders, poor terminals and unknown locales: labrun works, or says what it could not do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.forked import run_forked

LAB = """\
name: odd
networks:
  n1: {mode: isolated, cidr: 10.1.0.0/24}
hosts:
  a: {networks: {n1: 10.1.0.11}}
  b: {networks: {n1: 10.1.0.12}}
"""
# Nothing listens there, so that every command is over at once.
EXISTING = "name: odd\nhosts: {a: {address: 127.0.0.1, ssh: {port: 1}}}\n"
NOWHERE = {"LABRUN_HYPERVISOR": "qemu+unix:///system?socket=/nowhere"}
READING = (
    "validate",
    "verify --offline",
    "graph --format ascii",
    "report -o -",
    "schema",
    "history",
    "--help",
)
SURROUNDINGS = {
    "dumb": {"TERM": "dumb"},
    "no terminal type": {"TERM": ""},
    "no colour": {"NO_COLOR": "1"},
    "narrow": {"COLUMNS": "40"},
    "C": {"LANG": "C", "LC_ALL": "C"},
    "a locale that is not there": {"LANG": "ja_JP.UTF-8", "LC_ALL": "ja_JP.UTF-8"},
    "a locale that is none": {"LC_ALL": "no such locale"},
}


def run(
    folder: Path, words: str, variables: Mapping[str, str] = MappingProxyType({}), *, inside: bool = True
) -> tuple[int, str, str]:
    """Run labrun in the folder's lab with a home of its own; ``inside`` = where nothing can be written."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LABRUN_", "XDG_"))}
    kept.pop("NO_COLOR", None)
    done = run_forked(
        words.replace("FOLDER", str(folder)).split(),
        cwd=folder / "lab",
        env={**kept, **NOWHERE, "HOME": str(folder / "home"), **variables},
        stdin="",
        timeout=120,
        inside=("read_only", str(folder)) if inside else None,
    )
    return done.returncode, done.stdout, done.stderr.replace(str(folder), "FOLDER")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "lab.yaml").write_text(LAB)
    (tmp_path / "lab" / "there.yaml").write_text(EXISTING)
    return tmp_path


@pytest.mark.parametrize("where", SURROUNDINGS)
def test_reading_works_whatever_the_terminal_and_the_locale(folder: Path, where: str) -> None:
    for words in READING:
        code, out, err = run(folder, words, SURROUNDINGS[where])
        assert (code, err) == (0, ""), words
        assert out
        assert "\x1b" not in out


def test_a_narrow_terminal_gets_narrow_tables(folder: Path) -> None:
    narrow = {"COLUMNS": "40"}
    _, out, _ = run(folder, "--lab there.yaml --timeout 20 exec -v true", narrow)
    _, table, _ = run(folder, "--lab there.yaml --timeout 20 verify -v", narrow)
    assert "refused" in out
    assert table
    lines = [line for line in table.splitlines() if not line.startswith("13 unreachable")]
    assert max(map(len, lines)) <= 40


CANNOT = "Read-only file system"
NOT_RECORDED = (
    f"this run is not recorded: the history FOLDER/home/.local/state/labrun/history/odd.sqlite "
    f"cannot be written: {CANNOT}"
)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("report -o x.html", 1, f"error: cannot write x.html: {CANNOT}"),
        ("schema -o x.json", 1, f"error: cannot write x.json: {CANNOT}"),
        ("graph -o x.svg", 1, f"error: cannot write x.svg: {CANNOT}"),
        ("--lab FOLDER/lab/new.yaml init", 1, f"error: cannot write FOLDER/lab/new.yaml: {CANNOT}"),
        ("--lab there.yaml --timeout 20 exec true", 4, NOT_RECORDED),
        ("--lab there.yaml --timeout 20 verify", 4, NOT_RECORDED),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(folder: Path, words: str, code: int, said: str) -> None:
    found, _, err = run(folder, words)
    assert (found, err.splitlines()[0]) == (code, said), err
    assert "Traceback" not in err
    assert sorted(path.name for path in folder.rglob("*")) == ["home", "lab", "lab.yaml", "there.yaml"]


def test_where_it_can_be_written_nothing_is_said(folder: Path) -> None:
    _, _, err = run(folder, "--lab there.yaml --timeout 20 exec true", inside=False)
    assert "not recorded" not in err
    assert list((folder / "home").rglob("odd.sqlite"))
