"""The signal that powers a container off, by the name of its init."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from labrun.containers import power_off_signal


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("systemd", signal.SIGRTMIN + 4), ("init", signal.SIGPWR), ("sh", signal.SIGRTMIN + 4)],
)
def test_each_init_gets_the_signal_that_it_knows(tmp_path: Path, name: str, wanted: int) -> None:
    program = tmp_path / name
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            while Path(f"/proc/{process.pid}/comm").read_text() != f"{name}\n":
                assert process.poll() is None
            assert power_off_signal(process.pid) == wanted
        finally:
            process.kill()


def test_an_init_that_has_ended_gets_systemd_s() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert not Path(f"/proc/{ended.pid}/comm").exists()
    assert power_off_signal(ended.pid) == signal.SIGRTMIN + 4
