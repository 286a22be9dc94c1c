"""Odd arguments, closed streams, no home, another locale: one line says what is wrong, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import places
from tests.unit.command_line import run_labrun

LAB = """\
name: odd
networks:
  n1: {mode: isolated, cidr: 10.1.0.0/24}
hosts:
  a: {networks: {n1: 10.1.0.11}}
"""
# No command may get as far as a host: what it would have to ask does not answer.
NOWHERE = {"LABRUN_HYPERVISOR": "qemu+unix:///system?socket=/nowhere"}
WRONG = {
    "init --from bin": "bin:1: the file is not UTF-8 (byte 0x85) (save it as UTF-8)",
    "init --from folder": "error: folder: the folder has no file that labrun can read",
    "init --from empty": "error: empty: not a file that labrun can read",
    "init --from nothing": "nothing: there is no such file",
    "init --template x": 'error: --template: no template is called "x"',
    "lesson report": "error: No such command 'report'",
    "run": "error: Missing argument 'FILE.py[:TASK]'",
    "run nothing": "error: nothing is neither a file nor a Python module",
    "run bin": "error: bin is no Python file",
    "run lab.yaml": "error: lab.yaml is no Python file",
    "run bad.py": "error: FOLDER/bad.py:1: invalid syntax",
    "run exit.py": "error: exit.py:1: SystemExit: 3",
    "run exit.py:": "error: exit.py: names no task after the colon",
    "mcp --bogus": 'error: unknown option "--bogus" (did you mean "--verbose"?)',
    "report -o folder": "error: Invalid value for '--html' / '--output' / '-o': File 'folder' is a directory",
    "report -o ''": "error: Invalid value for '--html' / '--output' / '-o': the path is empty",
    "--state-dir '' status": "error: Invalid value for '--state-dir': the path is empty",
    "--history '' status": "error: Invalid value for '--history': the path is empty",
    "image build ''": 'error: there is no recipe for ""',
    "image pull ''": 'error: there is no image "" in the catalogue',
    "image pull http://": "error: 'http://' is not an address to download from",
    "image pull http:///x": "error: 'http:///x' is not an address to download from",
    "image pull ftp://a/b": "error: 'ftp://a/b' is not an address to download from",
    "image pull https://[::1/x": "error: 'https://[::1/x' is not an address to download from",
    "image pull debian-12 --mirror https://[": "error: 'https://[' is not an address to download from",
    "image import nothing": "error: Invalid value for 'FILE': File 'nothing' does not exist",
    "image import bin --name ''": "error: '' cannot be the name of an image",
    "image import bin --name ../x": "error: '../x' cannot be the name of an image",
    "image check ''": "error: '' cannot be the name of an image",
    "host-bridge create ''": "error: Missing option '--dev'",
    "host-bridge remove ''": 'error: "" cannot be the name of a bridge',
    "snapshot save ''": 'error: a snapshot cannot be called ""',
    "fork ''": 'error: a fork cannot be called ""',
    "drop ''": 'error: the lab odd has no fork ""',
    "verify --pair :": "error: --pair: two hosts are required, such as host01:host03",
    "--timeout nan verify": "error: Invalid value for '--timeout': 'nan' is not a number of seconds above 0",
    "--workers 99999999999999999999 verify": (
        "error: Invalid value for '--workers': 99999999999999999999 is more than 1000000"
    ),
    "--hosts , verify": "error: --hosts: names no host",
    "--lab folder validate": "folder/lab.yaml: there is no such file",
    "--lab bin validate": "bin:1: the file is not UTF-8 (byte 0x85) (save it as UTF-8)",
    "history --since 99999999999999999999d": 'error: --since: "99999999999999999999d" is not a time',
    "log nothing": 'error: unknown host "nothing"',
    "break ''": 'error: unknown fault ""',
    "configure --only ''": "error: --only: names no section",
    "drift --every 0s": 'error: --every: "0s" is not a duration',
    "inventory --format nornir -o bin": "error: --output: bin: nornir needs a folder",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(LAB)
    (tmp_path / "bin").write_bytes(b"\x85\x00\xff" * 100)
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.py").write_text("x = \n")
    (tmp_path / "exit.py").write_text("raise SystemExit(3)\n")
    return tmp_path


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_said_in_one_line(folder: Path, words: str) -> None:
    if words.startswith("init"):
        (folder / "lab.yaml").unlink()
    args = ["" if word == "''" else word for word in words.split()]
    env = {**NOWHERE, "XDG_STATE_HOME": str(folder / "state"), "LABRUN_IMAGE_DIR": str(folder / "images")}
    done = run_labrun(*args, cwd=folder, env=env)
    said = done.stderr.splitlines()[0].replace(str(folder), "FOLDER")
    assert (done.returncode, said) == (2, WRONG[words]), done.stderr


COMMANDS = ["validate", "verify --offline", "graph --format ascii", "schema", "report -o -", "run exit.py"]
CLOSED = {
    "no stdout": ">&-",
    "no stderr": "2>&-",
    "nothing": ">&- 2>&- <&-",
    "full": ">/dev/full",
    "full stderr": "2>/dev/full",
}


@pytest.mark.full
@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("words", COMMANDS)
def test_closed_and_full_streams_end_in_no_traceback(folder: Path, words: str, closed: str) -> None:
    script = f'"$0" -m labrun {words} {CLOSED[closed]}'
    env = {**os.environ, **NOWHERE, "PYTHONPATH": str(places.ROOT), "XDG_STATE_HOME": str(folder / "state")}
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    assert "unexpected" not in text
    writes = words != "run exit.py"
    assert done.returncode == (1 if closed == "full" else 0 if writes else 2), text


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"HOME": ""}, id="no home"),
        pytest.param({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, id="POSIX"),
    ],
)
def test_neither_a_home_nor_a_locale_is_needed(folder: Path, env: dict[str, str]) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "HOME" or "HOME" not in env}
    clean |= {
        **NOWHERE,
        "PYTHONPATH": str(places.ROOT),
        **{key: value for key, value in env.items() if value},
    }
    for words in COMMANDS[:-1]:
        done = subprocess.run(
            [sys.executable, "-m", "labrun", *words.split()],
            cwd=folder,
            env=clean,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr)
        assert "Traceback" not in done.stderr
