"""`labrun schedule` where no systemd runs: what it prints, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labrun.errors import LabrunError
from labrun.outcome import Status
from labrun.runner.timer.files import install_units, other_lab_file, remove_units
from labrun.runner.timer.status import TimerStatus, schedule_row
from labrun.runner.timer.systemd import Systemd
from labrun.runner.timer.units import MARK
from tests.unit.command_line import run_labrun

LAB = "name: demo\nhosts:\n  one: {address: 192.0.2.1, sshd: false}\nschedule: {every: 15m}\n"
HINT = (
    "hint: `labrun schedule install --cron` prints a line for cron, "
    "`labrun drift --every 15m` repeats in the foreground\n"
)
needs_no_systemd = pytest.mark.skipif(Systemd(user=False).is_running, reason="systemd runs here")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(LAB)
    return tmp_path


@needs_no_systemd
@pytest.mark.parametrize("verb", ["install", "status"])
def test_without_systemd_there_is_a_way_out(place: Path, verb: str) -> None:
    done = run_labrun("schedule", verb, "--system", cwd=place)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: systemd is not running here\n{HINT}"


def test_a_user_without_a_manager_is_told_so(place: Path) -> None:
    done = run_labrun("schedule", "status", "--user", cwd=place, env={"XDG_RUNTIME_DIR": str(place)})
    assert done.returncode == 1
    assert done.stderr == f"error: systemd is not running for this user here\n{HINT}"


def test_a_line_for_cron(place: Path) -> None:
    done = run_labrun("schedule", "install", "--cron", "--state-dir", "state", "--hosts", "one", cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    when, _, command = done.stdout.partition(" env ")
    assert when == "*/15 * * * *"
    assert f"-m labrun --lab {place}/lab.yaml --state-dir {place}/state --hosts one" in command
    assert command.endswith(" --quiet drift --skip-locked\n")


def test_the_units_can_be_looked_at_first(place: Path) -> None:
    done = run_labrun(
        "schedule",
        "install",
        "--explain",
        "--system",
        "--metrics",
        "x.prom",
        "--calendar",
        "daily",
        cwd=place,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        f"# /etc/systemd/system/labrun-drift-demo.service\n{MARK} for {place}/lab.yaml\n"
    )
    assert f"--metrics {place}/x.prom\n" in done.stdout
    assert f"ReadWritePaths=-{place}\n" in done.stdout
    assert "OnCalendar=daily\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--every", "1m", "--calendar", "daily"], "--every and --calendar exclude each other"),
        (["--every", "soon"], '--every: "soon" is not a duration'),
        (["--jitter", "much"], '--jitter: "much" is not a duration'),
        (["--cron", "--calendar", "daily"], "cron does not read systemd's calendar"),
        (["--cron", "--every", "7m"], "cron cannot express every 420 s"),
        (["--webhook", "example.org"], "--webhook: an http or https URL is required"),
        (["--webhook-secret", "/dev/null"], "--webhook-secret signs what --webhook sends"),
        (
            ["--webhook", "https://example.org/", "--webhook-secret", "env:X"],
            "--webhook-secret: a scheduled run has no such variable",
        ),
        (["--metrics", "/missing/x.prom"], "--metrics: there is no directory /missing"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    place: Path, words: list[str], message: str
) -> None:
    done = run_labrun("schedule", "install", "--explain", *words, cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == f"error: {message}"


def test_how_often_has_to_be_said_somewhere(place: Path) -> None:
    (place / "lab.yaml").write_text(LAB.replace("schedule: {every: 15m}\n", ""))
    done = run_labrun("schedule", "install", "--explain", cwd=place)
    assert done.returncode == 2
    assert done.stderr.startswith("error: neither the command line nor the lab file says how often\n")


def test_a_file_from_stdin_is_no_schedule(place: Path) -> None:
    done = run_labrun("--lab", "-", "schedule", "install", "--cron", cwd=place, stdin=LAB)
    assert done.returncode == 2
    assert "error: a schedule needs a lab file, it cannot read stdin\n" in done.stderr


@needs_no_systemd
def test_down_says_that_a_schedule_stays(place: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(place)}
    down = ("-y", "down", "--state-dir", "state")
    assert "schedule" not in run_labrun(*down, cwd=place, env=env).stdout
    units = place / "systemd" / "user"
    units.mkdir(parents=True)
    (units / "labrun-drift-demo.timer").write_text(MARK)
    done = run_labrun(*down, cwd=place, env=env)
    assert done.returncode == 0
    note = "its schedule stays (labrun-drift-demo.timer): `labrun schedule remove --user` removes it\n"
    assert done.stdout.endswith(note)
    assert "schedule" not in run_labrun(*down, "--hosts", "one", cwd=place, env=env).stdout


def test_removing_what_is_not_there_is_no_error(place: Path) -> None:
    done = run_labrun(
        "--json", "schedule", "remove", "--user", cwd=place, env={"XDG_CONFIG_HOME": str(place)}
    )
    assert done.returncode == 0
    (row,) = json.loads(done.stdout)["results"]
    assert (row["section"], row["name"], row["status"]) == ("schedule", "labrun-drift-demo.timer", "skipped")


class Deaf(Systemd):
    """A manager that refuses every call."""

    def call(self, *words: str) -> str:
        """Refuse."""
        raise LabrunError("no")

    @property
    def is_running(self) -> bool:
        """Seem to be there."""
        return False


@pytest.fixture
def deaf(place: Path, monkeypatch: pytest.MonkeyPatch) -> Deaf:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place))
    return Deaf(user=True)


UNITS = {f"labrun-drift-demo.{kind}": f"{MARK} for /a/lab.yaml\n[Unit]\n" for kind in ("service", "timer")}


def test_an_install_that_fails_leaves_things_as_they_were(deaf: Deaf) -> None:
    with pytest.raises(LabrunError, match="no"):
        install_units(deaf, "demo", UNITS)
    assert list(deaf.directory.iterdir()) == []
    old = {name: text + "old\n" for name, text in UNITS.items()}
    for name, text in old.items():
        (deaf.directory / name).write_text(text)
    with pytest.raises(LabrunError, match="no"):
        install_units(deaf, "demo", UNITS)
    assert {path.name: path.read_text() for path in deaf.directory.iterdir()} == old
    assert remove_units(deaf, "demo") == ["labrun-drift-demo.timer", "labrun-drift-demo.service"]
    assert list(deaf.directory.iterdir()) == []
    assert remove_units(deaf, "demo") == []


def test_a_unit_of_somebody_else_is_left_alone(deaf: Deaf) -> None:
    deaf.directory.mkdir(parents=True)
    path = deaf.directory / "labrun-drift-demo.timer"
    path.write_text("[Timer]\n")
    for act in (lambda: install_units(deaf, "demo", UNITS), lambda: remove_units(deaf, "demo")):
        with pytest.raises(LabrunError) as caught:
            act()
        assert caught.value.reason == f"{path} is not labrun's"
    assert path.read_text() == "[Timer]\n"


def test_the_schedule_of_another_file_is_noticed(deaf: Deaf) -> None:
    assert other_lab_file(deaf, UNITS) is None
    deaf.directory.mkdir(parents=True)
    for name, text in UNITS.items():
        (deaf.directory / name).write_text(text.replace("/a/", "/b/"))
    assert other_lab_file(deaf, UNITS) == "/b/lab.yaml"


TIMER = TimerStatus(
    unit="labrun-drift-demo.timer",
    user=True,
    installed=True,
    enabled=True,
    active=True,
    running=False,
    last=1_764_050_400.0,
    next=1_764_051_300.0,
    last_exit_code=3,
    last_result="success",
)


def test_the_status_in_the_document() -> None:
    assert TIMER.as_json() == {
        "unit": "labrun-drift-demo.timer",
        "manager": "user",
        "installed": True,
        "enabled": True,
        "active": True,
        "running": False,
        "last": "2025-11-25T06:00:00Z",
        "next": "2025-11-25T06:15:00Z",
        "last_exit_code": 3,
        "last_result": "success",
    }


@pytest.mark.parametrize(
    ("differing", "status", "actual", "why"),
    [
        ({}, Status.OK, "last 2025-11-25T06:00:00Z (exit code 3), next 2025-11-25T06:15:00Z", None),
        (
            {"last": None, "last_exit_code": None, "last_result": None},
            Status.OK,
            "last never, next 2025-11-25T06:15:00Z",
            None,
        ),
        ({"running": True}, Status.OK, "last 2025-11-25T06:00:00Z (exit code 3), running now", None),
        (
            {"last_exit_code": 5, "last_result": "exit-code"},
            Status.WARNING,
            "last 2025-11-25T06:00:00Z (exit code 5), next 2025-11-25T06:15:00Z",
            "the last run failed: journalctl --user -u labrun-drift-demo",
        ),
        (
            {"active": False, "next": None},
            Status.WARNING,
            "last 2025-11-25T06:00:00Z (exit code 3), next never",
            "the timer is off: `labrun schedule install` starts it",
        ),
        (
            {"installed": False},
            Status.SKIPPED,
            "absent",
            "no schedule is installed: `labrun schedule install`",
        ),
    ],
)
def test_what_status_says(differing: dict[str, Any], status: Status, actual: str, why: str | None) -> None:
    row = schedule_row(replace(TIMER, **differing))
    assert (row.host, row.section, row.name) == ("hypervisor", "schedule", "labrun-drift-demo.timer")
    assert (row.status, row.actual, row.why) == (status, actual, why)
