"""The history of a real lab: a fault between two verifies, a killed run, and what `down` leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labrun.runner.history.reading import open_history
from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

LAB = """\
name: his-past
hypervisor: lxc:///system
defaults: {memory: 192}
networks:
  left: {mode: isolated, cidr: 10.64.10.0/24}
  right: {mode: isolated, cidr: 10.64.11.0/24}
hosts:
  r: {role: router, networks: {left: 10.64.10.254, right: 10.64.11.254}}
  a: {networks: {left: 10.64.10.10}}
  b: {networks: {right: 10.64.11.10}}
"""
_SECONDS = 60.0


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The lab, up, configured and verified once; whoever breaks it mends it."""
    lab = write_lab(tmp_path_factory.mktemp("history"), LAB)
    try:
        for words in (["up"], ["configure"], ["verify"]):
            done = lab.json(*words)
            assert done.exit_code == 0, done.trouble()
            assert "recorded" not in done.stderr
        yield lab
    finally:
        lab.run("-y", "down")


def runs(lab: RunningLab, *words: str) -> list[dict[str, Any]]:
    return list(lab.json("history", *words).document["runs"])


def test_every_command_that_worked_on_the_lab_is_there(lab: RunningLab) -> None:
    found = runs(lab)
    assert [run["command"] for run in found[-3:]] == ["verify", "configure", "up"]
    assert {run["hypervisor"] for run in found} == {"lxc:///system"}
    assert len({run["lab_file"] for run in found}) == 1
    shown = lab.json("show", "verify", "--evidence").document["evidence"]
    assert list(shown) == ["r", "a", "b"]
    assert all("10.64.1" in text for text in shown.values())


@pytest.mark.full
def test_the_difference_of_two_verifies_is_the_fault(lab: RunningLab) -> None:
    assert lab.json("verify").exit_code == 0
    again = lab.json("verify")
    assert lab.json("diff", "verify-1", "verify").document["changes"] == []
    assert lab.run("break", "forwarding-off").exit_code == 0
    try:
        broken = lab.json("verify")
        assert broken.exit_code == 1
    finally:
        assert lab.run("mend").exit_code == 0
    compared = lab.json("diff", again.document["run"], broken.document["run"]).document
    assert compared["lab_file_changed"] is False
    changed = {(change["section"], change["name"]) for change in compared["changes"]}
    assert changed == {("sysctl", "net.ipv4.ip_forward"), ("path", "a -> b"), ("path", "b -> a")}
    assert {change["after"]["status"] for change in compared["changes"]} == {"failed"}
    assert compared["same"] == len(again.rows) - 3
    assert lab.json("show", broken.document["run"]).document["shown"]["results"] == broken.rows
    assert lab.json("verify").exit_code == 0
    (path,) = (lab.state / "history").glob("*.sqlite")
    history = open_history(path, "his-past")
    assert history is not None
    item = ("r", "sysctl", "net.ipv4.ip_forward")
    assert history.last_ok()[item] > history.find(broken.document["run"]).began


def test_a_killed_run_stays_unfinished_and_the_next_ones_work(lab: RunningLab) -> None:
    before = len(runs(lab, "--limit", "1000"))
    process = lab.start("verify")
    deadline = time.monotonic() + _SECONDS
    while len(runs(lab, "--limit", "1000")) == before:
        assert time.monotonic() < deadline
        assert process.poll() is None
    process.kill()
    process.wait(timeout=_SECONDS)
    assert runs(lab)[0]["state"] == "unfinished"
    assert lab.json("verify", "--no-evidence").exit_code == 0
    assert [run["state"] for run in runs(lab)[:2]] == ["finished", "unfinished"]
    assert "no host output is kept" in lab.run("show", "last", "--evidence").stderr


def test_a_page_and_an_export_of_it(lab: RunningLab, tmp_path: Path) -> None:
    assert lab.run("report", "--html", str(tmp_path / "page.html")).exit_code == 0
    assert 'id="history"' in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert lab.run("history", "--export", str(tmp_path / "runs.jsonl")).exit_code == 0
    lines = (tmp_path / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["command"] for line in lines[:3]] == ["up", "configure", "verify"]


def test_down_leaves_the_past_and_no_verify(lab: RunningLab) -> None:
    assert lab.run("-y", "down").exit_code == 0
    found = lab.run("history", "--name", "his-past", "--limit", "1")
    assert "down" in found.stdout
    assert lab.run("graph").stdout.splitlines()[1] == "no verify yet"
