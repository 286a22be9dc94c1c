"""The second try of a test that failed, as CI gives it, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_CONFTEST = """\
from tests.second_tries import SecondTries

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SecondTries(1))
"""
# Fails where its file is not there yet.
_UNSTEADY = """\
from pathlib import Path

def once(path):
    if not path.exists():
        path.touch()
        raise AssertionError("the first time")

def test_steady(): pass
def test_a(): once(Path(__file__).with_name("a"))
"""
_SECOND = '\ndef test_b(): once(Path(__file__).with_name("b"))\n'
_NEVER = "\ndef test_never(): raise AssertionError('always')\n"


def _run(folder: Path, text: str, *options: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text(_CONFTEST)
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*words, *options, str(folder / "test_it.py")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root)},
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [("--reruns", "1"), ("--reruns", "1", "-n", "2")], ids=["one", "workers"])
def test_a_test_that_passes_at_its_second_try_is_named(tmp_path: Path, options: tuple[str, ...]) -> None:
    code, text = _run(tmp_path, _UNSTEADY, *options)
    assert code == 0
    assert "SECOND TRY test_it.py::test_a\n" in text
    assert "AssertionError: the first time" in text
    assert "2 passed, 1 rerun" in text


def test_too_many_of_them_fail_the_run(tmp_path: Path) -> None:
    code, text = _run(tmp_path, _UNSTEADY + _SECOND, "--reruns", "1")
    assert code == 1
    assert "2 tests needed a second try, at most 1 may: the run has failed" in text


def test_a_test_that_fails_twice_has_failed(tmp_path: Path) -> None:
    code, text = _run(tmp_path, _NEVER, "--reruns", "1")
    assert code == 1
    assert "1 failed, 1 rerun" in text


def test_without_ci_s_option_nothing_is_tried_again(tmp_path: Path) -> None:
    code, text = _run(tmp_path, _UNSTEADY)
    assert code == 1
    assert "SECOND TRY" not in text
