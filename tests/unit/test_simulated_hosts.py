"""The simulated hosts of the benchmarks: what labrun makes of them is what it makes of real ones."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks.many_hosts import COMMANDS, simulated
from labrun.inventory.topology.targets import WHOLE


def test_hosts_that_are_not_there_are_read_as_they_should_be(tmp_path: Path) -> None:
    with simulated(tmp_path / "fleet", 3) as fleet:
        for name in ("verify", "configure --dry-run"):
            words = fleet.command("", [*COMMANDS[name], "--json"])
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
            rows = json.loads(done.stdout)["results"]
            assert {row["host"] for row in rows} == {"h00000", "h00001", "h00002"}
            assert {row["status"] for row in rows} == {"ok"}, done.stdout
        cost = fleet.stop()
    assert cost["scripts"] == 6, "one login and one script for each host and command"
    assert cost["cpu"] > 0


def test_of_a_large_lab_only_what_concerns_the_chosen_hosts_is_read(tmp_path: Path) -> None:
    with simulated(tmp_path / "fleet", WHOLE + 44) as fleet:
        for name in ("verify", "drift"):
            words = fleet.command("", ["--hosts", "h00007", *COMMANDS[name], "--json"])
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
            rows = json.loads(done.stdout)["results"]
            assert {(row["host"], row["status"]) for row in rows} == {("h00007", "ok")}, done.stdout
        cost = fleet.stop()
    assert cost["scripts"] == 2
