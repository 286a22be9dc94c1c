"""Fixtures for tests on a lab: ``lab`` is up and configured, and taken down after the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from labrun.runner.api.lab import Lab

__all__ = ["lab", "lab_file", "pytest_addoption", "pytest_configure"]

_CHOICES = ("auto", "always", "never")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("labrun", "tests on a lab of labrun")
    group.addoption(
        "--lab", metavar="FILE", help="Lab file of the fixture lab; default: lab.yaml, see lab_file."
    )
    group.addoption(
        "--lab-down",
        choices=_CHOICES,
        default="auto",
        help="Take the lab down after the tests: auto = if it was not up before.",
    )
    group.addoption("--lab-state-dir", metavar="DIR", help="Where the lab's keys and history are kept.")


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker by which a test file names its lab."""
    config.addinivalue_line("markers", "lab(file): the lab file of a test module, relative to it")


@pytest.fixture(scope="module")
def lab_file(request: pytest.FixtureRequest) -> Path:
    """Return the lab file of a test module; override this fixture to choose another way.

    ``--lab`` decides, then the marker ``lab`` of the module, then the lab.yaml beside it or in the nearest
    folder above.
    """
    from labrun.inventory.file.source import find_lab_file

    beside = Path(request.path).parent
    if (given := request.config.getoption("--lab", None)) is not None:
        return Path(str(request.config.invocation_params.dir), given)
    marker = request.node.get_closest_marker("lab")
    if marker is not None:
        return Path(beside, *marker.args)
    return find_lab_file(beside)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, lab_file: Path) -> Iterator[Lab]:
    """Yield the lab, up and configured. One that was up already is reused, and left up.

    A lab that does not come up fails the tests with its rows. Runs are not recorded in the history.
    """
    from labrun.runner.api.lab import load

    loaded = load(lab_file, state_dir=request.config.getoption("--lab-state-dir", None), record=False)
    was_up = False
    try:
        was_up = loaded.is_up()
        up = loaded.up(configure=True)
        if not up.ok:
            pytest.fail(f"the lab {loaded.name} does not come up\n{up!r}", pytrace=False)
        yield loaded
    finally:
        wish = request.config.getoption("--lab-down", "auto")
        if wish == "always" or (wish == "auto" and not was_up):
            loaded.down().raise_if_bad()
