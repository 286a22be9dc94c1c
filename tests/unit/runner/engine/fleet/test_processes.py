"""Processes that outlive labrun: known again, one of each name, with an input that never ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from labrun.errors import LabrunError
from labrun.runner.engine.fleet.processes import Detached

# Ends with its input: so it is still there only because that does not end.
READS = [sys.executable, "-c", "import sys; print('here', file=sys.stderr, flush=True); sys.stdin.read()"]
STARTS = (
    "import sys; from pathlib import Path; from labrun.runner.engine.fleet.processes import Detached;"
    "Detached(Path(sys.argv[1]), 'it').start(sys.argv[2:])"
)


def runs(process: Detached) -> bool:
    return process.is_running


def wait_for_words(process: Detached) -> None:
    until = time.monotonic() + 30
    while process.last_words() != "here":
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_outlives_who_has_started_it_and_is_ended_by_another(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", STARTS, str(tmp_path), *READS], check=True, timeout=60)
    process = Detached(tmp_path, "it")
    wait_for_words(process)
    assert runs(process)
    assert process.stop()
    assert not runs(process)
    assert not process.stop()
    assert list(tmp_path.iterdir()) == []


def test_another_process_of_that_number_is_left_alone(tmp_path: Path) -> None:
    process = Detached(tmp_path, "it")
    process.start(READS)
    record = tmp_path / "it.process"
    own = record.read_text("ascii")
    boot, pid, started = own.split()
    record.write_text(f"{boot} {pid} {int(started) - 1}\n", encoding="ascii")
    assert not runs(process)
    assert not process.stop()
    record.write_text(own, encoding="ascii")
    assert runs(process)
    assert process.stop()


def test_what_cannot_be_started_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(LabrunError, match=r"^cannot start /none: No such file or directory$"):
        Detached(tmp_path, "it").start(["/none"])
