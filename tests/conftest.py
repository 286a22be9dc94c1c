"""What holds for every test."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Any

import pytest

from tests import leftovers
from tests.fuzz import load_profile
from tests.second_tries import SecondTries
from tests.sharing import Groups, rank

# Whoever runs the tests in the background of a shell has SIGINT ignored, and so would have every command
# that they start: none of them would ever hear of Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Workers and hundreds of processes of labrun start here. Without bytecode on disk each of them would compile
# every module anew, which takes half of the time of tests/unit.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Runs of labrun in the tests are not what the job of the tests is about.
os.environ.pop("GITHUB_STEP_SUMMARY", None)

# What collecting makes stays until the end: to look for garbage meanwhile is a fifth of its time.
gc.disable()
load_profile()


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a name, which its workers inherit."""
    if not hasattr(config, "workerinput"):
        leftovers.begin_run()
        if config.getoption("reruns", None):
            config.pluginmanager.register(SecondTries())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing, also where somebody has interrupted the run."""
    if not hasattr(config, "workerinput"):
        leftovers.end_run()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the largest labs, unless they are asked for; begin with what takes long in many processes."""
    if "scale" not in config.option.markexpr:
        large = [item for item in items if item.get_closest_marker("scale")]
        if large:
            config.hook.pytest_deselected(items=large)
            items[:] = [item for item in items if item not in large]
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))


def pytest_collection_finish() -> None:
    """Keep what imports and collecting have made out of every later garbage collection."""
    gc.freeze()
    gc.enable()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Keep together what shares a lab."""
    return Groups(config, log)
