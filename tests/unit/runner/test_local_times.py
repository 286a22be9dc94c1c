"""Times are local and have an age for people, and are UTC in JSON: of one function, in every command."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from labrun import moments
from labrun.outcome import Outcome, Status
from tests.unit.command_line import run_labrun
from tests.unit.past_runs import remember
from tests.unit.tasks.provision.image_files import needs_qemu_img, qcow2

# Nobody's machine is at this offset, so that a UTC time cannot pass for a local one.
ZONE, OFFSET = "LAB-9:37", timedelta(hours=9, minutes=37)
LAB = """\
name: office
hosts:
  a: {address: 127.0.0.1, ssh: {user: nobody, port: 1}}
"""
RUN_ID = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ-[0-9a-f]{4}")
UTC_TIME = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00)|\bUTC\b")
IN_JSON = re.compile(r'"\d{4}-\d\d-\d\dT[^"]*"')


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", ZONE)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def lab(tmp_path: Path) -> tuple[Path, float]:
    """A lab with two runs, an hour ago by the clock of this machine; returns the time of the newer."""
    (tmp_path / "lab.yaml").write_text(LAB)
    began = time.time() - 3725
    rows = [Outcome("a", "sysctl", "net.ipv4.ip_forward", Status.FAILED, "1", "0")]
    path = tmp_path / "state" / "history" / "office.sqlite"
    for ago in (60, 0):
        remember(path, rows, lab="office", began=began - ago, exit_code=1, uri="", forever=False)
    return tmp_path, began


@needs_qemu_img
@pytest.mark.parametrize(
    ("words", "tells"),
    [
        (["history"], True),
        (["show", "last"], True),
        (["diff", "last", "-2"], False),
        (["status"], True),
        (["report", "-o", "-"], True),
        (["graph", "--format", "ascii"], False),
        (["image", "list"], False),
        (["history", "--export", "-"], False),
        (["drift"], False),
        (["verify"], False),
        (["list"], False),
        (["snapshot", "list"], False),
        (["schedule", "status"], False),
        (["net"], False),
        (["doctor"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_no_command_shows_utc_to_people_nor_another_zone_in_json(
    lab: tuple[Path, float], words: list[str], tells: bool
) -> None:
    folder, began = lab
    env = {"TZ": ZONE, "LABRUN_IMAGE_DIR": str(folder / "images")}
    disk = qcow2(folder / "disk.qcow2")
    run_labrun("image", "import", str(disk), "--name", "one", cwd=folder, env=env)
    shown = run_labrun("--state-dir", "state", *words, cwd=folder, env=env)
    text = shown.stdout + shown.stderr
    assert shown.stdout or shown.returncode in (1, 2, 5), text
    if "--export" not in words:
        assert UTC_TIME.findall(RUN_ID.sub("RUN", text)) == [], text
    if tells:
        local = datetime.fromtimestamp(began, UTC) + OFFSET
        assert f"{local:%H:%M}" in text
    if words[0] in ("report", "graph"):
        return
    document = run_labrun("--state-dir", "state", "--json", *words, cwd=folder, env=env).stdout
    stamps = [text for text in IN_JSON.findall(document) if not RUN_ID.fullmatch(text.strip('"'))]
    assert [text for text in stamps if not re.search(r'(Z|\+00:00)"$', text)] == []
    if words == ["history"]:
        when = datetime.fromisoformat(json.loads(document)["runs"][0]["began"])
        assert abs(when.timestamp() - began) < 1


def test_a_time_has_its_age(zone: None) -> None:
    noon = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
    said = {
        noon - 5: "21:36, 5 s ago",
        noon - 200: "21:33, 3 min ago",
        noon - 7200: "19:37, 2 h ago",
        noon - 86400: "2026-11-24 21:37, 1 d ago",
        noon - 40000000: "2025-08-19 22:30, 1 y ago",
        noon + 200: "21:40, in 3 min",
        noon + 10800: "2026-11-26 00:37, in 3 h",
    }
    assert {at: moments.told(at, noon) for at in said} == said


def test_the_other_forms(zone: None) -> None:
    noon = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
    assert moments.stamp(noon) == "2026-11-25T12:00:00Z"
    assert moments.dated(noon) == "2026-11-25 21:37 LAB"
    assert moments.clock(noon, noon) == moments.time_of_day(noon) == "21:37:00"
    assert moments.clock(noon, noon + 86400) == "2026-11-25 21:37:00"
    assert [moments.age(seconds) for seconds in (-1, 0, 59, 60, 86400)] == [
        "0 s",
        "0 s",
        "59 s",
        "1 min",
        "1 d",
    ]


def test_a_time_that_is_typed_is_local_too(lab: tuple[Path, float]) -> None:
    folder, began = lab
    local = datetime.fromtimestamp(began, UTC) + OFFSET
    for since, count in ((local - timedelta(seconds=30), 1), (local + timedelta(seconds=30), 0)):
        words = ["--state-dir", "state", "--json", "history", "--since", f"{since:%Y-%m-%dT%H:%M:%S}"]
        done = run_labrun(*words, cwd=folder, env={"TZ": ZONE})
        assert len(json.loads(done.stdout)["runs"]) == count


def test_only_one_module_writes_times() -> None:
    """What strftime and isoformat are used for elsewhere are names of files, IDs and records."""
    root = Path(__file__).parents[3]
    allowed = {
        "labrun/moments.py",
        "labrun/state_files.py",
        "runner/cli/invocation.py",
        "runner/commands/capture.py",
        "runner/commands/snapshots/saving.py",
        "runner/history/store.py",
        "tasks/provision/image_import.py",
        "tasks/provision/image_manifest.py",
    }
    found = {
        str(path.relative_to(root))
        for folder in ("labrun", "runner", "tasks", "inventory")
        for path in (root / folder).rglob("*.py")
        if not (root / folder / path.relative_to(root / folder).parts[0]).is_symlink()
        and re.search(r"strftime\(|\.isoformat\(|localtime\(", path.read_text(encoding="utf-8"))
    }
    assert found <= allowed
