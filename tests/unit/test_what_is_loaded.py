"""A run that has nothing to change does not load what only a change, a failure or another guest needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
import labrun.inventory.topology.jump_hosts
import labrun.runner.commands.configure
import labrun.tasks.configure.task
from labrun.runner.engine.out_of_band import reasons_inside

assert reasons_inside(None, {}, {"host": "its rows"}) == {}
print(*(name for name in sys.modules if name.startswith("labrun.")))
"""
NOT_NEEDED = (
    "labrun.inventory.topology.reach",
    "labrun.tasks.configure.ifupdown_nic",
    "labrun.tasks.configure.ifupdown_script",
    "labrun.tasks.configure.networkd_nic",
    "labrun.tasks.configure.networkd_script",
    "labrun.tasks.configure.next_boot",
    "labrun.tasks.guest.facts.nft",
    "labrun.tasks.out_of_band.look",
    "labrun.tasks.collect.capture",
)


def test_configure_without_a_change() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "labrun.tasks.configure.nm_family" in loaded
    assert not loaded.intersection(NOT_NEEDED)
    # A name that has gone would be missing for good.
    for name in NOT_NEEDED:
        assert (root / name.replace(".", "/")).with_suffix(".py").is_file(), name
