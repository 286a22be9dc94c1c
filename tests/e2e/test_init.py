"""What `init` writes is a lab: made, configured, verified and removed on real containers, each template."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from labrun.inventory.starting.templates import TEMPLATES
from tests import places
from tests.e2e.test_existing_machines import Inside
from tests.labs import RunningLab
from tests.shares import of_ci

URI = "lxc:///system"
MADE = [name for name in TEMPLATES if name != "existing"]
SOURCES = {"kathara": "lab.conf", "containerlab": "racks.clab.yml"}


def begun(folder: Path, *words: str) -> RunningLab:
    """Return the lab that `init` with these words writes into a folder, which gives it its name."""
    folder.mkdir()
    command = [sys.executable, "-m", "labrun", "init", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return RunningLab(folder / "lab.yaml", folder / "state", {"LABRUN_HYPERVISOR": URI})


@contextmanager
def kept_up(lab: RunningLab) -> Iterator[RunningLab]:
    """Bring a lab up and configured, and take it down."""
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        configured = lab.json("configure")
        assert configured.exit_code == 0, configured.trouble()
        yield lab
    finally:
        down = lab.run("-y", "down")
        assert down.exit_code == 0, down.stderr + down.stdout


def holds(lab: RunningLab) -> None:
    """Verify a lab, and that a second configure changes nothing. Warnings are what the file calls so."""
    verified = lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()
    assert "ok" in verified.statuses("path") or len({row["host"] for row in verified.rows}) == 1
    again = lab.json("configure")
    assert again.statuses() <= {"ok", "skipped"}, again.rows


@pytest.mark.parametrize("template", of_ci(MADE, ["dual-stack"]))
def test_a_template_is_made_configured_verified_and_removed(
    hypervisor: None, template: str, tmp_path: Path
) -> None:
    with kept_up(begun(tmp_path / f"e2e-init-{template}", "--template", template)) as lab:
        holds(lab)


@pytest.mark.full
def test_the_template_of_existing_machines_on_those_of_another_lab(hypervisor: None, tmp_path: Path) -> None:
    with kept_up(begun(tmp_path / "e2e-init-base")) as base:
        (state,) = base.state.glob("*-*")
        begun(tmp_path / "e2e-init-existing", "--template", "existing")
        path = tmp_path / "e2e-init-existing" / "lab.yaml"
        text = path.read_text(encoding="utf-8")
        ssh = {
            "user": "lab",
            "identity": str(state / "id_ed25519"),
            "known_hosts": str(state / "known_hosts"),
        }
        for theirs, own in (
            ("192.0.2.0/24", "10.61.1.0/24"),
            ("192.0.2.10", "10.61.1.11"),
            ("192.0.2.11", "10.61.1.12"),
            ("{user: admin}", json.dumps(ssh)),
        ):
            assert theirs in text
            text = text.replace(theirs, own)
        path.write_text(text, encoding="utf-8")
        pid = daemon_pid(URI)
        assert pid is not None
        lab = Inside(path, path.parent / "state", pid=pid)
        planned = lab.json("configure", "--dry-run")
        assert planned.exit_code == 3, planned.stderr
        assert lab.json("configure").exit_code == 0
        holds(lab)


@pytest.mark.full
@pytest.mark.parametrize("source", SOURCES)
def test_another_tool_s_lab_is_made_configured_verified_and_removed(
    hypervisor: None, source: str, tmp_path: Path
) -> None:
    origin = tmp_path / source
    shutil.copytree(places.RECORDED / "starting" / source, origin)
    folder = tmp_path / "e2e-init-from"
    lab = begun(folder, "--from", str(origin / SOURCES[source]))
    text = lab.path.read_text(encoding="utf-8")
    lines = ["name: e2e-init-from" if line.startswith("name:") else line for line in text.splitlines()]
    lab.path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with kept_up(lab):
        holds(lab)
