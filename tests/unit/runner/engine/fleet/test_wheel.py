"""A wheel of the labrun that runs: the same bytes each time, and its source is that of what runs."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

import labrun
from labrun.errors import UsageError
from labrun.runner.engine.fleet.wheel import given_wheel, own_wheel, pins, source_of
from tests.built import build, environment


def test_the_same_files_make_the_same_wheel() -> None:
    first, second = own_wheel(), own_wheel()
    assert first.content == second.content
    assert first.folder == second.folder
    assert first.version == labrun.__version__


def test_what_is_installed_from_it_runs_and_has_the_same_source(tmp_path: Path) -> None:
    wheel = own_wheel()
    file = tmp_path / wheel.name
    file.write_bytes(wheel.content)
    commands = environment(tmp_path / "there", file)
    code = "from labrun.runner.engine.fleet.wheel import own_wheel as w; print(w().source, w().folder)"
    told = subprocess.run(
        [commands / "python", "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    # Installed, it makes this very wheel again.
    assert told == [wheel.source, wheel.folder]
    shown = subprocess.run(
        [commands / "labrun", "-V"], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == f"labrun {wheel.version}\n"


def test_a_released_wheel_has_the_same_source(tmp_path: Path) -> None:
    released = given_wheel(build(tmp_path).wheel)
    assert (released.version, released.source) == (labrun.__version__, source_of())


def test_the_packages_here_are_pinned() -> None:
    pinned = pins(frozenset({"fleet"}))
    assert {
        name: metadata.version(name) for name in ("nornir", "netmiko", "distributed", "paramiko")
    }.items() <= (pinned.items())
    assert "pytest" not in pinned
    assert "libvirt-python" not in pinned
    assert "distributed" not in pins(frozenset())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labrun-0.1.0-py3-none-any.whl", b"no zip", "--wheel: {}: File is not a zip file"),
        ("other-1.0-py3-none-any.whl", None, "--wheel: {} is not a wheel of labrun"),
    ],
)
def test_what_is_no_wheel_of_labrun_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(own_wheel().content if content is None else content)
    with pytest.raises(UsageError) as raised:
        given_wheel(path)
    assert str(raised.value) == message.format(path)
