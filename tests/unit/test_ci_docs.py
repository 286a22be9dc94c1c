"""The recipes for CI systems and for installing: command lines that labrun takes, packages that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from labrun.runner.main import cli
from tests import places

DOCS = places.ROOT / "docs"
CI = (DOCS / "ci.md").read_text(encoding="utf-8")
INSTALL = (DOCS / "install.md").read_text(encoding="utf-8")
INSTALLER = (places.ROOT / "scripts" / "install").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def scripts(value: Any) -> Iterator[str]:
    """Yield the lines of shell in a recipe."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key in ("run", "script", "after_script"):
                lines = below if isinstance(below, list) else [below]
                yield from (line for text in lines for line in text.replace("\\\n", " ").splitlines())
            else:
                yield from scripts(below)
    elif isinstance(value, list):
        for below in value:
            yield from scripts(below)


def command_lines() -> list[list[str]]:
    """Return the arguments of every call of labrun in the recipes and the consoles."""
    shell = [line for block in blocks(CI, "yaml") for line in scripts(yaml.safe_load(block))]
    shell += [
        line[2:] for text in (CI, INSTALL) for block in blocks(text, "console") for line in block.splitlines()
    ]
    called = (
        re.search(r"(?:^|/| )labrun ((?:-|[a-z]+\b(?! \.)).*)$", line.split("  #")[0]) for line in shell
    )
    return [shlex.split(match[1]) for match in called if match is not None and "install" not in match.string]


def test_there_are_command_lines_to_try() -> None:
    assert len(command_lines()) >= 15


@pytest.mark.parametrize("args", command_lines(), ids=" ".join)
def test_labrun_takes_each_of_them(args: list[str]) -> None:
    command: click.Command = cli
    ctx = click.Context(cli, info_name="labrun")
    while isinstance(command, click.Group):
        name, *args = args
        found = command.get_command(ctx, name)
        assert found is not None, name
        command = found
    command.make_context(name, args, parent=ctx)


def test_the_packages_of_the_distributions_are_those_that_are_installed() -> None:
    (table,) = re.findall(r"(?ms)^\| \| Debian, Ubuntu .*?\n\n", INSTALL)
    named = [
        re.findall(r"`([^`]+)`", cell) for line in table.splitlines()[2:] for cell in line.split("|")[2:4]
    ]
    packages = {name for cell in named for text in cell for name in text.split()}
    # Of Fedora: AlmaLinux 9 has another Python as python3.
    known = set(re.findall(r"[a-z][a-z0-9.+-]+", INSTALLER)) | {"python3-devel"}
    assert len(packages) >= 30
    assert packages <= known


def test_the_image_has_what_the_wheel_needs_and_is_made_from_it() -> None:
    recipe = (places.ROOT / "release" / "Containerfile").read_text(encoding="utf-8")
    for package in ("libvirt-dev", "pkg-config", "gcc", "python3-dev", "openssh-client", "iproute2"):
        assert re.search(rf"\b{package}\b", recipe), package
        assert package in INSTALLER
    assert "release/Containerfile" in CI


def test_each_way_to_install_is_in_the_readme() -> None:
    readme = Path(places.ROOT / "README.md").read_text(encoding="utf-8")
    for way in ("pipx install", "uv tool install", "pip", "make deb", "make quickstart", "docs/install.md"):
        assert way in readme, way
