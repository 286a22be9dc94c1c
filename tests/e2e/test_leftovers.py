"""What a test run that was killed in the middle leaves is gone before the next one, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from tests import leftovers, places
from tests.e2e.conftest import write_lab

LAB = """\
name: {name}
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 256}}
networks: {{n: {{mode: very-isolated, cidr: {subnet}.0/24}}}}
hosts: {{h: {{networks: {{n: {subnet}.9}}}}}}
"""
# It is killed while a command of its own works on the lab.
KILLED = """\
import time
from pathlib import Path
from tests.labs import RunningLab

def test_a_lab():
    lab = RunningLab(Path("lab.yaml"), Path("state"))
    up = lab.run("up", "--no-wait")
    loop = lab.start("drift", "--every", "1h")
    Path("now").write_text(f"{up.exit_code} {loop.pid}")
    time.sleep(600)
"""
NEXT = """\
def test_nothing(without_leftovers): pass
"""
SECONDS = 300


def command(file: str) -> list[str]:
    plugins = ["-p", "tests.conftest", "-p", "tests.leftovers", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", "-s", "-c", os.devnull, "--rootdir", ".", *plugins, file]


def run_next(directory: Path) -> str:
    (directory / "test_next.py").write_text(NEXT, encoding="utf-8")
    done = subprocess.run(
        command("test_next.py"),
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(places.ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def names() -> set[str]:
    connection = libvirt.open("lxc:///system")
    found = [domain.name() for domain in connection.listAllDomains()]
    found += [network.name() for network in connection.listAllNetworks()]
    connection.close()
    return {name for name in found if name.startswith("e2e-left")}


@pytest.fixture
def others(hypervisor: None, tmp_path: Path) -> Iterator[None]:
    """Two further labs: one of this run, which is going on, and one that no test run has made."""
    labs = []
    for number, name in enumerate(("e2e-left-going", "e2e-left-user")):
        text = LAB.format(name=name, subnet=f"10.149.{number}")
        labs.append(write_lab(tmp_path / name, text))
        assert labs[-1].run("up", "--no-wait").exit_code == 0
    leftovers.forget("e2e-left-user")
    yield
    assert [lab.run("-y", "down").exit_code for lab in labs] == [0, 0]


def runs(pid: str) -> bool:
    """Tell whether a process runs: one that has ended stays a zombie until whoever is PID 1 collects it."""
    try:
        _, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
    except OSError:
        return False
    return after[0] not in "ZX"


def test_a_killed_run_is_cleared_away_by_the_next(others: None, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB.format(name="e2e-left", subnet="10.149.2"), encoding="utf-8")
    (tmp_path / "test_killed.py").write_text(KILLED, encoding="utf-8")
    kept = names()
    with subprocess.Popen(
        command("test_killed.py"), cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(places.ROOT)}
    ) as killed:
        deadline = time.monotonic() + SECONDS
        while not (told := tmp_path / "now").is_file() or not told.read_text():
            assert killed.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        killed.send_signal(signal.SIGKILL)
    code, loop = told.read_text().split()
    assert code == "0"
    assert names() == kept | {"e2e-left-h", "e2e-left-n"}
    assert runs(loop)

    # The loop may have a process of its own just then.
    removed = run_next(tmp_path).removeprefix("removed, of an earlier run: ").removesuffix("\n").split(", ")
    assert (loop in removed, removed[-1]) == (True, "e2e-left"), removed
    assert all(each.isdigit() for each in removed[:-1]), removed
    assert names() == kept
    assert not runs(loop)
    assert not Path("/var/lib/labrun/labs/e2e-left").exists()
    assert run_next(tmp_path) == ""
    assert names() == kept
