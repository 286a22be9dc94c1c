"""`labrun fleet` with machines that are network namespaces: what it puts there, starts, and removes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.runner.engine.fleet.model import FleetFolder
from labrun.runner.engine.fleet.wheel import own_wheel, pins
from tests.fleet_machines import FleetMachine, fleet_machines
from tests.labs import Answer, RunningLab

EXISTING = "name: fleet-kernel\nhosts:\n  web: {address: 192.0.2.1, ssh: {user: nobody, port: 1}}\n"
HERE = "10.98.2.1"
PORT = 14_920

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[FleetMachine]:
    with fleet_machines(tmp_path, 2, 1) as (only,):
        yield only


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab file, and a state directory in which a fleet may be; it is stopped afterwards."""
    path = tmp_path / "lab.yaml"
    path.write_text(EXISTING, encoding="utf-8")
    made = RunningLab(path, tmp_path / "state")
    yield made
    made.run("fleet", "stop")


def init(lab: RunningLab, machine: FleetMachine, *words: str) -> None:
    files = ("--identity", str(machine.identity), "--known-hosts", str(machine.known_hosts))
    made = lab.json("fleet", "init", machine.name, "--port", str(PORT), *files, *words)
    assert (made.exit_code, made.statuses()) == (0, {"changed"}), made.stderr


def by_name(answer: Answer) -> dict[str, str]:
    return {row["name"]: row["status"] for row in answer.rows}


@pytest.mark.full
def test_with_tls_a_machine_gets_a_certificate_of_its_own(lab: RunningLab, machine: FleetMachine) -> None:
    machine.have_installed()
    init(lab, machine, "--tls", "--address", HERE)
    first = lab.json("fleet", "install")
    assert first.exit_code == 0, first.trouble()
    assert by_name(first) == {
        "scheduler": "changed",
        f"{machine.name} labrun": "ok",
        f"{machine.name} certificate": "changed",
        f"{machine.name} worker": "changed",
    }
    again = lab.json("fleet", "install")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.rows
    assert lab.json("fleet", "status").statuses() == {"ok"}
    (key,) = machine.base.glob("certificates/*/worker.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    stopped = lab.json("fleet", "stop")
    assert (stopped.exit_code, stopped.statuses()) == (0, {"changed"})
    assert (list(machine.base.glob("certificates/*")), machine.pids()) == ([], [])


@pytest.mark.full
def test_a_machine_with_another_source_is_refused(lab: RunningLab, machine: FleetMachine) -> None:
    machine.have_installed()
    wheel = own_wheel()
    (errors,) = (machine.base / wheel.folder).glob("lib/python3*/site-packages/labrun/errors.py")
    with errors.open("a", encoding="utf-8") as file:
        file.write("# mended in place\n")
    init(lab, machine)
    assert lab.json("fleet", "install").exit_code == 0
    refused = lab.json("--engine", f"dask://127.0.0.1:{PORT}", "exec", "true")
    assert refused.exit_code == 5
    reason = refused.document["error"]
    assert reason.startswith(f"engine: {machine.name} has labrun {wheel.version} (source ")
    assert reason.endswith(f" instead of {wheel.version} (source {wheel.source})")
    status = lab.json("fleet", "status")
    assert (status.exit_code, by_name(status)[machine.name]) == (1, "failed")


@pytest.mark.full
def test_labrun_is_installed_without_a_package_index(
    lab: RunningLab, machine: FleetMachine, tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    words = [f"{name}=={version}" for name, version in pins(frozenset({"fleet"})).items()]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(packages), *words]
    subprocess.run(pip, check=True, timeout=600, capture_output=True)
    init(lab, machine)
    first = lab.json("fleet", "install", "--packages", str(packages))
    assert (first.exit_code, first.statuses()) == (0, {"changed"}), first.trouble()
    again = lab.json("fleet", "install", "--packages", str(packages))
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.rows
    status = lab.json("fleet", "status")
    assert status.exit_code == 0, status.trouble()
    removed = lab.json("-y", "fleet", "stop", "--remove")
    assert (removed.exit_code, removed.statuses()) == (0, {"changed"}), removed.trouble()
    assert not machine.base.exists()
    assert not FleetFolder.of(lab.state).file.exists()


@pytest.mark.full
def test_what_ends_at_once_says_why(lab: RunningLab, machine: FleetMachine) -> None:
    machine.have_installed()
    (program,) = (machine.base / own_wheel().folder / "bin").glob("python")
    program.unlink()
    init(lab, machine)
    failed = lab.json("fleet", "install")
    assert failed.exit_code == 1
    (row,) = [row for row in failed.rows if row["name"].endswith(" worker")]
    assert row["status"] == "failed"
    assert row["why"].startswith("its worker does not start: ")
    assert json.loads(failed.stdout)["ok"] is False
