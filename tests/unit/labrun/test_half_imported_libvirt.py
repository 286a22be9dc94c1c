"""libvirt while another thread imports it: a module that is there and has nothing in it yet."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from labrun.hypervisor import as_hypervisor_error
from labrun.runner.history.reading import open_history
from tests.unit.past_runs import remember


@pytest.fixture(autouse=True)
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", ModuleType("libvirt"))


def test_a_run_is_recorded_without_its_version(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    run = remember(path)
    history = open_history(path, "lab")
    assert history is not None
    last = history.last("verify")
    assert last is not None
    assert last.run == run
    assert "libvirt" not in last.versions


def test_an_error_of_something_else_is_none_of_its() -> None:
    assert as_hypervisor_error(ValueError("x")) is None
