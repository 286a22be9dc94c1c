"""What `drift` refuses before it looks at anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.command_line import run_labrun

LAB = "name: demo\nhosts:\n  one: {address: 192.0.2.1, sshd: false}\n"
ANEW = "the lab file is read again for each run: it cannot be stdin"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(LAB)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--every", "soon"], '--every: "soon" is not a duration'),
        (["--every", "1m", "--jitter", "2m"], "--jitter: 2m must be less than the interval 1m"),
        (["--every", "1m", "--jitter", "-1"], '--jitter: "-1" is not a duration'),
        (["--jitter", "5s"], "--jitter delays the runs of --every"),
        (["--every", "1m", "--lab", "-"], ANEW),
        (["--watch", "--lab", "-"], ANEW),
        (["--watch"], "--watch draws a screen on a terminal"),
        (["--watch", "--every", "soon"], '--every: "soon" is not a duration'),
        (["--webhook", "ftp://example.org"], "--webhook: an http or https URL is required"),
        (["--webhook-secret", "env:HOME"], "--webhook-secret signs what --webhook sends"),
        (["--metrics", "/missing/x.prom"], "--metrics: there is no directory /missing"),
    ],
)
def test_a_wrong_command_line_is_refused(place: Path, words: list[str], message: str) -> None:
    done = run_labrun("drift", *words, cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == f"error: {message}"


def test_the_file_has_to_say_how_often_when_the_command_line_does_not(place: Path) -> None:
    for words in (["--every"], ["--every", "--quiet"]):
        done = run_labrun("drift", *words, cwd=place)
        assert done.returncode == 2
        assert done.stderr == (
            "error: lab.yaml does not say how often\n"
            "hint: --every 15m, or `schedule: {every: 15m}` in the file\n"
        )


def test_how_often_can_stand_in_the_environment(place: Path) -> None:
    done = run_labrun("drift", cwd=place, env={"LABRUN_DRIFT_EVERY": "teatime"})
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == 'error: --every: "teatime" is not a duration'
